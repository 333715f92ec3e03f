import { AppError } from '../core/app-error.ts'
import { bsonType, findElement, maxDocumentBytes, stringValue } from '../document/raw-document.ts'
import { ByteQueue } from './byte-queue.ts'
import { decodeCollection } from './collection-metadata.ts'
import {
  type DocumentBlock,
  formatVersion,
  magic,
  maxCollections,
  type Namespace,
  type NamespaceEnd,
  namespaceName,
  type Prelude,
  terminator,
} from './format.ts'
import { addDocuments, endOf, type RunningNamespace, startNamespace } from './write-archive.ts'

export type ArchiveEvent =
  | { kind: 'prelude'; prelude: Prelude }
  | ({ kind: 'documents' } & DocumentBlock)
  | ({ kind: 'end' } & NamespaceEnd)

/** Documents are handed out in blocks of about this size. */
const blockBytes = 256 * 1024

/**
 * Reads an archive from a stream of bytes: first the prelude, then blocks of documents and ends of namespaces in the archive's order.
 * Memory is bounded by one block and one document, whatever the archive claims. Every namespace's CRC is checked at its end.
 *
 * @throws AppError `archive-foreign` not an archive · `archive-version` a version we do not know · `archive-truncated` ·
 * `archive-checksum` · `archive-oversized` a document beyond 16 MiB · `corrupt` anything else
 */
export async function* readArchive(source: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEvent> {
  const queue = new ByteQueue(source)
  const prelude = await readPrelude(queue)
  yield { kind: 'prelude', prelude }

  const open = new Map<string, RunningNamespace>()
  const ended = new Set<string>()
  while (!(await queue.isAtEnd())) {
    const header = await readNamespaceHeader(queue)
    const name = namespaceName(header)
    if (ended.has(name)) throw new AppError('corrupt', `archive: "${name}" goes on after its end`)
    const running = open.get(name) ?? (await startNamespace(header))
    open.set(name, running)
    if (open.size > maxCollections) throw new AppError('corrupt', 'archive: too many namespaces are open at once')
    if (header.isEnd) {
      await expectTerminator(queue)
      open.delete(name)
      ended.add(name)
      yield { kind: 'end', ...checkedEnd(running, header.crc) }
    } else {
      yield* readBlock(queue, running)
    }
  }
  refuseUnfinished(open, ended, prelude)
}

async function readPrelude(queue: ByteQueue): Promise<Prelude> {
  const start = await queue.peek(4)
  if (start.length < 4 || start.readUInt32LE() !== magic) {
    throw new AppError('archive-foreign', 'not a mongodump archive: it does not start with the magic number', {
      hint: 'give the file that "mongodump --archive" or a backup wrote; a compressed one is unpacked first',
    })
  }
  queue.take(4)
  const header = await readDocument(queue)
  const version = textIn(header, 'version')
  if (version !== formatVersion) {
    throw new AppError('archive-version', `archive format "${version}" is not known, only "${formatVersion}"`, {
      hint: 'update CertAutopilot, or write the archive with an older mongodump',
    })
  }
  const collections: Prelude['collections'] = []
  while (!(await takeTerminator(queue))) {
    if (collections.length >= maxCollections) throw new AppError('corrupt', 'archive prelude: too many collections')
    collections.push(decodeCollection(await readDocument(queue)))
  }
  return { serverVersion: textIn(header, 'server_version'), toolVersion: textIn(header, 'tool_version'), collections }
}

async function readNamespaceHeader(queue: ByteQueue): Promise<Namespace & { isEnd: boolean; crc: bigint }> {
  const bytes = await readDocument(queue)
  const isEnd = findElement(bytes, 'EOF')
  const crc = findElement(bytes, 'CRC')
  if (isEnd?.type !== bsonType.boolean || crc?.type !== bsonType.int64) {
    throw new AppError('corrupt', 'archive: a block does not start with a namespace')
  }
  const header = {
    database: textIn(bytes, 'db'),
    collection: textIn(bytes, 'collection'),
    isEnd: bytes[isEnd.start] === 1,
    crc: BigInt.asUintN(64, bytes.readBigInt64LE(crc.start)),
  }
  const isBoolean = (bytes[isEnd.start] as number) <= 1
  if (!isBoolean || (!header.isEnd && header.crc !== 0n)) {
    throw new AppError('corrupt', `archive: the header of a block of "${namespaceName(header)}" is damaged`)
  }
  return header
}

async function* readBlock(queue: ByteQueue, running: RunningNamespace): AsyncGenerator<ArchiveEvent> {
  const { database, collection } = running
  while (!(await takeTerminator(queue))) {
    const first = await readDocument(queue)
    const documents = Buffer.concat([first, ...takeBuffered(queue, blockBytes - first.length)])
    addDocuments(running, documents)
    yield { kind: 'documents', database, collection, documents }
  }
}

/** Whole documents that have already arrived: they cost no wait. */
function takeBuffered(queue: ByteQueue, budget: number): Buffer[] {
  const ready = queue.buffered()
  let end = 0
  while (end + 4 <= ready.length && end < budget) {
    const length = ready.readUInt32LE(end)
    if (length === terminator || end + length > ready.length) break
    checkLength(length)
    if (ready[end + length - 1] !== 0) break
    end += length
  }
  return end > 0 ? [queue.take(end)] : []
}

async function readDocument(queue: ByteQueue): Promise<Buffer> {
  const start = await queue.peek(4)
  if (start.length < 4) throw truncated()
  const length = start.readUInt32LE()
  checkLength(length)
  const bytes = await queue.peek(length)
  if (bytes.length < length) throw truncated()
  if (bytes[length - 1] !== 0) throw new AppError('corrupt', 'archive: a document does not end with a zero byte')
  return queue.take(length)
}

function checkLength(length: number): void {
  if (length > maxDocumentBytes) {
    throw new AppError('archive-oversized', `archive: a document claims ${length} bytes, more than the ${maxDocumentBytes} allowed`)
  }
  if (length < 5) throw new AppError('corrupt', `archive: a document claims ${length} bytes, fewer than 5`)
}

async function takeTerminator(queue: ByteQueue): Promise<boolean> {
  const bytes = await queue.peek(4)
  if (bytes.length < 4) throw truncated()
  if (bytes.readUInt32LE() !== terminator) return false
  queue.take(4)
  return true
}

async function expectTerminator(queue: ByteQueue): Promise<void> {
  if (!(await takeTerminator(queue))) throw new AppError('corrupt', 'archive: an end marker is followed by documents')
}

function checkedEnd(running: RunningNamespace, wanted: bigint): NamespaceEnd {
  const end = endOf(running)
  if (end.crc !== wanted) {
    throw new AppError('archive-checksum', `archive: the CRC of "${namespaceName(end)}" is wrong`, {
      hint: 'the archive was changed or damaged after it was written; use another copy',
    })
  }
  return end
}

function refuseUnfinished(open: Map<string, unknown>, ended: Set<string>, prelude: Prelude): void {
  const unfinished = [...open.keys()][0] ?? neverSeen(ended, prelude)
  if (unfinished !== undefined) throw truncated(`"${unfinished}" has no end marker`)
}

/** Every collection of the prelude has an end marker, also an empty one; a view has none in archives of the stock tool. */
function neverSeen(ended: Set<string>, prelude: Prelude): string | undefined {
  return prelude.collections
    .filter(({ info }) => info.type === 'collection')
    .map(({ database, info }) => namespaceName({ database, collection: info.name }))
    .find((name) => !ended.has(name))
}

function textIn(bytes: Buffer, name: string): string {
  const element = findElement(bytes, name)
  if (element === undefined) throw new AppError('corrupt', `archive: "${name}" is missing`)
  return stringValue(bytes, element)
}

function truncated(detail = 'it ends in the middle of a document'): AppError {
  return new AppError('archive-truncated', `archive is truncated: ${detail}`, { hint: 'copy it again, or use another copy' })
}
