import { createHash } from 'node:crypto'
import { pack } from 'tar-stream'
import { AppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { sha256Of } from './digest.ts'
import { archiveName, type Manifest, manifestName, type SignedManifest, signValue } from './manifest.ts'

/** A small file of a bundle, whole. */
export interface Member {
  name: string
  content: Buffer
}

/** The compressed archive, which was spooled because a tar entry's size stands before its bytes. */
export interface SpooledArchive {
  bytes: number
  sha256: string
  read(): AsyncIterable<Buffer>
}

/**
 * The tar of a bundle as a stream: members, archive, and the signed manifest last, because digests are known last.
 * @param describe gets the digests of all members and gives the manifest
 */
export function writeBundle(input: {
  members: readonly Member[]
  archive: SpooledArchive
  signingKey: Secret
  describe(members: Manifest['members']): Manifest
}): { tar: AsyncIterable<Buffer>; manifest: SignedManifest } {
  const digests = input.members.map(({ name, content }) => ({ name, bytes: content.length, sha256: sha256(content) }))
  const manifest = input.describe([...digests, { name: archiveName, bytes: input.archive.bytes, sha256: input.archive.sha256 }])
  const signed: SignedManifest = { manifest, ...signValue(manifest, input.signingKey) }
  return { tar: tarOf(input.members, input.archive, signed), manifest: signed }
}

const tarBlockBytes = 512
/** Two blocks of zeros end a tar. */
const tarEndBytes = 2 * tarBlockBytes

/** The archive, which is nearly all of it, passes by untouched; the library packs the small members around it. */
async function* tarOf(members: readonly Member[], archive: SpooledArchive, signed: SignedManifest): AsyncGenerator<Buffer> {
  yield (await packed(members)).subarray(0, -tarEndBytes)
  yield archiveHeader(archive.bytes)
  const spooled = sha256Of(archive.read())
  yield* spooled.bytes
  if (spooled.value() !== archive.sha256) {
    throw new AppError('failed', 'the archive read back from its spool is not what was written', {
      hint: 'the disk is full or faulty',
    })
  }
  yield Buffer.alloc((tarBlockBytes - (archive.bytes % tarBlockBytes)) % tarBlockBytes)
  yield await packed([{ name: manifestName, content: Buffer.from(`${JSON.stringify(signed, null, 2)}\n`) }])
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
