import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Pack, pack } from 'tar-stream'
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
}): { tar: Readable; manifest: SignedManifest } {
  const digests = input.members.map(({ name, content }) => ({ name, bytes: content.length, sha256: sha256(content) }))
  const manifest = input.describe([...digests, { name: archiveName, bytes: input.archive.bytes, sha256: input.archive.sha256 }])
  const signed: SignedManifest = { manifest, ...signValue(manifest, input.signingKey) }
  const tar = pack()
  void fill(tar, input, signed).catch((error) => tar.destroy(error as Error))
  return { tar: Readable.from(tar, { objectMode: false }), manifest: signed }
}

async function fill(
  tar: Pack,
  input: { members: readonly Member[]; archive: SpooledArchive },
  signed: SignedManifest,
): Promise<void> {
  for (const { name, content } of input.members) await addMember(tar, name, content)
  const entry = tar.entry({ name: archiveName, size: input.archive.bytes, mode: 0o600 })
  const spooled = sha256Of(input.archive.read())
  await pipeline(spooled.bytes, entry)
  if (spooled.value() !== input.archive.sha256)
    throw new AppError('failed', 'the archive read back from its spool is not what was written', {
      hint: 'the disk is full or faulty',
    })
  await addMember(tar, manifestName, Buffer.from(`${JSON.stringify(signed, null, 2)}\n`))
  tar.finalize()
}

function addMember(tar: Pack, name: string, content: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    tar.entry({ name, size: content.length, mode: 0o600 }, content, (error) => (error ? reject(error) : resolve()))
  })
}

export function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
