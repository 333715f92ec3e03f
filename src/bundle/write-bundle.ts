import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pack } from 'tar-stream'
import type { Secret } from '../core/secret.ts'
import { sha256Of } from './digest.ts'
import { archiveName, type Manifest, manifestName, type SignedManifest, signValue } from './manifest.ts'
import { headUnit, type Wrapping } from './wrapping.ts'

/** A small file of a bundle, whole. */
export interface Member {
  name: string
  content: Buffer
}

/** A file that is written in parts, at positions. */
export interface BundleFile {
  write(source: AsyncIterable<Buffer>, position: number): Promise<void>
}

interface BundleInput {
  members: readonly Member[]
  /** The compressed archive. */
  archive: AsyncIterable<Buffer>
  wrapping: Wrapping
  file: BundleFile
  signingKey: Secret
  /** Hears how large the head will be before anything is written, for whoever wants to follow what stands behind it. */
  begin(headBytes: number): void
  /** Gets the digests of all members when the archive has passed, and gives the manifest. */
  describe(digests: Manifest['members']): Promise<Manifest>
}

export interface WrittenBundle {
  signed: SignedManifest
  /** What the tar begins with, and whether that is all of it. */
  head: { plain: Buffer; isAll: boolean }
}

const tarBlockBytes = 512
/** Two blocks of zeros end a tar. */
const tarEndBytes = 2 * tarBlockBytes

/**
 * Writes a bundle in one pass: members, archive, and the signed manifest last, because digests are known last. The size of the archive
 * stands before it, so the head of the tar is held back until the end; nothing is written to disk that is not enclosed.
 */
export async function writeBundle(input: BundleInput): Promise<WrittenBundle> {
  const { members, wrapping, file } = input
  const start = (await packed(members)).subarray(0, -tarEndBytes)
  const headBytes = Math.ceil((start.length + tarBlockBytes) / headUnit) * headUnit
  /** What is not filled of it stays zeros, which a tar may end with. */
  const head = Buffer.alloc(headBytes)
  start.copy(head)
  const tar: RunningTar = { head, held: start.length + tarBlockBytes, passed: 0 }
  const archive = sha256Of(input.archive)
  let signed: SignedManifest | undefined

  const pieces = async function* () {
    yield* archive.bytes
    archiveHeader(archive.size()).copy(head, start.length)
    yield Buffer.alloc((tarBlockBytes - (archive.size() % tarBlockBytes)) % tarBlockBytes)
    const manifest = await input.describe(digestsOf(members, archive))
    signed = { manifest, ...signValue(manifest, input.signingKey) }
    yield packed([{ name: manifestName, content: Buffer.from(`${JSON.stringify(signed, null, 2)}\n`) }])
  }
  input.begin(headBytes)
  await file.write(wrapping.body(behindHead(tar, pieces()), headBytes), wrapping.spaceOf(headBytes))
  const isAll = tar.passed === 0
  await file.write(Readable.from([wrapping.head(head, isAll)]), 0)
  return { signed: signed as unknown as SignedManifest, head: { plain: head, isAll } }
}

interface RunningTar {
  head: Buffer
  /** How much of the head there is. */
  held: number
  /** Bytes that went by behind it. */
  passed: number
}

/** Fills the head with what comes first and passes on the rest. */
async function* behindHead(tar: RunningTar, source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    const kept = piece.copy(tar.head, tar.held)
    tar.held += kept
    if (kept === piece.length) continue
    tar.passed += piece.length - kept
    yield piece.subarray(kept)
  }
}

function digestsOf(members: readonly Member[], archive: ReturnType<typeof sha256Of>): Manifest['members'] {
  const digests = members.map(({ name, content }) => ({ name, bytes: content.length, sha256: sha256(content) }))
  return [...digests, { name: archiveName, bytes: archive.size(), sha256: archive.value() }]
}

async function packed(members: readonly Member[]): Promise<Buffer> {
  const tar = pack()
  for (const { name, content } of members) tar.entry({ name, mode: 0o600 }, content)
  tar.finalize()
  return Buffer.concat((await Array.fromAsync(tar)) as Buffer[])
}

/** A ustar header (POSIX.1-1988); a size of 8 GiB or more is written in base 256, as GNU and pax readers take it. */
export function archiveHeader(bytes: number): Buffer {
  const header = Buffer.alloc(tarBlockBytes)
  header.write(archiveName, 0)
  header.write('0000600\x000000000\x000000000\x00', 100)
  if (bytes < 8 ** 11) header.write(`${bytes.toString(8).padStart(11, '0')}\x00`, 124)
  else {
    header[124] = 0x80
    header.writeUIntBE(bytes, 130, 6)
  }
  header.write('00000000000\x00', 136)
  header.write('        0', 148)
  header.write('ustar\x0000', 257)
  const checksum = header.reduce((sum, byte) => sum + byte, 0)
  header.write(`${checksum.toString(8).padStart(6, '0')}\x00 `, 148)
  return header
}

export function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
