import { createHash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { ByteQueue } from '../archive/byte-queue.ts'
import { magic, type NamespaceEnd } from '../archive/format.ts'
import { type ArchiveEvent, readArchive } from '../archive/read-archive.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { ageMagic, openSealedStream } from './age-stream.ts'
import { archiveName, type Manifest, manifestName, parseManifest, type SignedManifest } from './manifest.ts'

/** Small members are held in memory; a larger one is no part of a bundle of ours. */
const maxMemberBytes = 16 * 1024 * 1024
const maxMembersBytes = 64 * 1024 * 1024
const maxMembers = 1000
/** Beyond this much, an archive may not unpack to more than a hundred times its size: certificates compress by two. */
const freeBytes = 256 * 1024 * 1024
const maxRatio = 100

type UseArchive = (events: AsyncIterable<ArchiveEvent>, files: ReadonlyMap<string, Buffer>) => Promise<void>

export interface BundleContents {
  isSealed: boolean
  files: Map<string, Buffer>
  /** Missing when the input is a bare archive of mongodump. */
  signed: SignedManifest | undefined
  ends: NamespaceEnd[]
}

/**
 * Reads a bundle (sealed, plain, or a bare mongodump archive, told apart by their first bytes) once, from front to back.
 * `useArchive` is given the archive's events and the members that stand before it; the rest is checked here: member digests, and counts
 * and CRCs of collections, against the manifest.
 * @throws AppError `wrong-identity` · `corrupt` · `archive-...` · `too-new`
 */
export async function readBundle(
  source: AsyncIterable<Uint8Array>,
  identities: readonly Secret[],
  useArchive: UseArchive,
): Promise<BundleContents> {
  const root = new ByteQueue(source)
  try {
    return await readFrom(root, identities, useArchive)
  } finally {
    await root.close()
  }
}

async function readFrom(root: ByteQueue, identities: readonly Secret[], useArchive: UseArchive): Promise<BundleContents> {
  const outer = await peeked(root)
  const isSealed = outer.start.subarray(0, ageMagic.length).equals(ageMagic)
  const plain = isSealed ? openSealedStream(identities, outer.all) : outer.all
  const inner = await peeked(new ByteQueue(await unpackedIfGzip(plain)))
  const contents: BundleContents = { isSealed, files: new Map(), signed: undefined, ends: [] }
  const archiveEvents = (bytes: AsyncIterable<Uint8Array>) => noting(readArchive(bytes), contents.ends)
  if (inner.start.length >= 4 && inner.start.readUInt32LE() === magic) {
    await useArchive(archiveEvents(inner.all), contents.files)
    return contents
  }
  const digests = await readTar(inner.all, contents, async (entry) => {
    await useArchive(archiveEvents(gunzipped(entry)), contents.files)
  })
  contents.signed = checkedManifest(contents, digests)
  return contents
}

/** Decodes gzip (several members too), refusing a bomb and what follows the end. */
async function* gunzipped(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let packed = 0
  let unpacked = 0
  const counted = async function* () {
    for await (const chunk of source) {
      packed += chunk.length
      yield chunk
    }
  }
  const gunzip = createGunzip({ chunkSize: 256 * 1024 })
  const feeding = pipeline(counted, gunzip).catch(() => {})
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      unpacked += chunk.length
      if (unpacked > freeBytes && unpacked > packed * maxRatio)
        throw new AppError('corrupt', 'the archive unpacks to more than a hundred times its size: it looks like a bomb')
      yield chunk
    }
  } catch (error) {
    if (isAppError(error)) throw error
    throw new AppError('corrupt', `the archive is not intact gzip: ${messageOf(error)}`, {
      hint: 'copy the bundle again, or use another one',
      cause: error,
    })
  } finally {
    gunzip.destroy()
    await feeding
  }
}

async function readTar(
  source: AsyncIterable<Uint8Array>,
  contents: BundleContents,
  useArchive: (entry: AsyncIterable<Buffer>) => Promise<void>,
): Promise<Map<string, { bytes: number; sha256: string }>> {
  const digests = new Map<string, { bytes: number; sha256: string }>()
  const tar = extract()
  let held = 0
  const feeding = pipeline(source, tar).catch(() => {})
  try {
    for await (const entry of tar) {
      const name = checkedName(entry.header, digests)
      const digest = { bytes: 0, sha256: '' }
      digests.set(name, digest)
      if (digests.size > maxMembers) throw new AppError('corrupt', `the bundle has more than ${maxMembers} members`)
      const bytes = hashed(entry as AsyncIterable<Buffer>, digest)
      if (name === archiveName) {
        await useArchive(bytes)
        for await (const _rest of bytes);
      } else {
        contents.files.set(name, await whole(bytes, entry.header))
        held += entry.header.size ?? 0
        if (held > maxMembersBytes)
          throw new AppError('corrupt', `the small members of the bundle are larger than ${maxMembersBytes} bytes`)
      }
    }
  } catch (error) {
    if (isAppError(error)) throw error
    throw new AppError('corrupt', `the bundle is not an intact tar: ${messageOf(error)}`, {
      hint: 'copy it again, or use another one',
      cause: error,
    })
  } finally {
    tar.destroy()
    await feeding
  }
  return digests
}

/** Only plain files with plain relative names. */
function checkedName(header: Header, known: ReadonlyMap<string, unknown>): string {
  const { name, type } = header
  if (type !== 'file')
    throw new AppError('corrupt', `the bundle holds "${name}", which is a ${type}: only plain files are accepted`)
  if (!isPlainName(name)) throw new AppError('corrupt', `the bundle holds "${name}", which would leave its folder`)
  if (known.has(name)) throw new AppError('corrupt', `the bundle holds "${name}" twice`)
  return name
}

function isPlainName(name: string): boolean {
  return !/[\\\0]/.test(name) && !name.split('/').some((part) => part === '..' || part === '.' || part === '')
}

/** Why these members would be refused when they are read; undefined when they would not. */
export function whyUnreadable(members: readonly { name: string; content: Buffer }[]): string | undefined {
  const odd = members.find(({ name }) => !isPlainName(name))
  if (odd !== undefined) return `"${odd.name}" is no plain name`
  const large = members.find(({ content }) => content.length > maxMemberBytes)
  if (large !== undefined) return `"${large.name}" is larger than ${maxMemberBytes} bytes`
  if (members.length > maxMembers - 2) return `${members.length} files are more than ${maxMembers - 2}`
  const total = members.reduce((sum, { content }) => sum + content.length, 0)
  return total > maxMembersBytes ? `${total} bytes of files are more than ${maxMembersBytes}` : undefined
}

async function whole(bytes: AsyncIterable<Buffer>, header: Header): Promise<Buffer> {
  if ((header.size ?? 0) > maxMemberBytes)
    throw new AppError('corrupt', `"${header.name}" of the bundle is larger than ${maxMemberBytes} bytes`)
  return Buffer.concat(await Array.fromAsync(bytes))
}

async function* hashed(source: AsyncIterable<Buffer>, digest: { bytes: number; sha256: string }): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  for await (const chunk of source) {
    hash.update(chunk)
    digest.bytes += chunk.length
    yield chunk
  }
  digest.sha256 = hash.digest('hex')
}

async function* noting(events: AsyncIterable<ArchiveEvent>, ends: NamespaceEnd[]): AsyncGenerator<ArchiveEvent> {
  for await (const event of events) {
    if (event.kind === 'end') ends.push(event)
    yield event
  }
}

function checkedManifest(contents: BundleContents, digests: Map<string, { bytes: number; sha256: string }>): SignedManifest {
  const bytes = contents.files.get(manifestName)
  if (bytes === undefined)
    throw new AppError('corrupt', 'the bundle has no manifest: it is cut short, or none of ours', {
      hint: 'copy it again, or use another bundle',
    })
  const signed = parseManifest(bytes)
  digests.delete(manifestName)
  for (const member of signed.manifest.members) {
    const found = digests.get(member.name)
    if (found === undefined) throw new AppError('corrupt', `"${member.name}" is missing in the bundle`)
    if (found.bytes !== member.bytes || found.sha256 !== member.sha256)
      throw new AppError('corrupt', `"${member.name}" of the bundle is not what the manifest says`)
    digests.delete(member.name)
  }
  const extra = [...digests.keys()][0]
  if (extra !== undefined) throw new AppError('corrupt', `the bundle holds "${extra}", which its manifest does not name`)
  checkCollections(signed.manifest, contents.ends)
  return signed
}

function checkCollections(manifest: Manifest, ends: NamespaceEnd[]): void {
  for (const wanted of manifest.collections) {
    if (wanted.type === 'view') continue
    const found = ends.find((end) => end.collection === wanted.name)
    const isSame = found?.count === wanted.count && found.bytes === wanted.bytes && crcText(found.crc) === wanted.crc64
    if (!isSame)
      throw new AppError(
        'corrupt',
        `collection "${wanted.name}" holds ${found?.count ?? 'no'} documents, the manifest says ${wanted.count}`,
      )
  }
}

export function crcText(crc: bigint): string {
  return crc.toString(16).padStart(16, '0')
}

async function peeked(queue: ByteQueue): Promise<{ start: Buffer; all: AsyncIterable<Buffer> }> {
  const start = Buffer.from(await queue.peek(64))
  return { start, all: drained(queue) }
}

async function* drained(queue: ByteQueue): AsyncGenerator<Buffer> {
  try {
    while (!(await queue.isAtEnd())) yield queue.take(queue.buffered().length)
  } finally {
    await queue.close()
  }
}

async function unpackedIfGzip(source: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer>> {
  const { start, all } = await peeked(new ByteQueue(source))
  return start.length >= 2 && start[0] === 0x1f && start[1] === 0x8b ? gunzipped(all) : all
}
