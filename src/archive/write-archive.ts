import { buildDocument, int32Bytes, rawBoolean, rawInt32, rawInt64, rawString } from '../document/raw-builder.ts'
import { encodeCollection } from './collection-metadata.ts'
import { type Crc64, newCrc64 } from './crc64.ts'
import {
  type DocumentBlock,
  formatVersion,
  magic,
  type Namespace,
  type NamespaceEnd,
  namespaceName,
  type Prelude,
  terminator,
} from './format.ts'

const terminatorBytes = uint32Bytes(terminator)

/**
 * Writes an archive as a stream of buffers. Blocks of different namespaces may alternate; a block without documents ends its namespace.
 * Memory is flat: one block at a time.
 * @param onEnd hears of every finished namespace, with what its end marker says
 */
export async function* writeArchive(
  prelude: Prelude,
  blocks: AsyncIterable<DocumentBlock>,
  onEnd: (end: NamespaceEnd) => void = () => {},
): AsyncGenerator<Buffer> {
  yield encodePrelude(prelude)
  const open = new Map<string, RunningNamespace>()
  for await (const block of blocks) {
    const running = open.get(namespaceName(block)) ?? (await startNamespace(block))
    open.set(namespaceName(block), running)
    if (block.documents.length > 0) {
      addDocuments(running, block.documents)
      yield namespaceHeader(block, false, 0n)
      yield block.documents
      yield terminatorBytes
    } else {
      open.delete(namespaceName(block))
      const end = endOf(running)
      onEnd(end)
      yield Buffer.concat([namespaceHeader(block, true, end.crc), terminatorBytes])
    }
  }
}

function encodePrelude(prelude: Prelude): Buffer {
  const header = buildDocument([
    ['concurrent_collections', rawInt32(2)],
    ['version', rawString(formatVersion)],
    ['server_version', rawString(prelude.serverVersion)],
    ['tool_version', rawString(prelude.toolVersion)],
  ])
  const collections = prelude.collections.map(({ database, info }) => encodeCollection(database, info))
  return Buffer.concat([uint32Bytes(magic), header, ...collections, terminatorBytes])
}

function namespaceHeader(namespace: Namespace, isEnd: boolean, crc: bigint): Buffer {
  return buildDocument([
    ['db', rawString(namespace.database)],
    ['collection', rawString(namespace.collection)],
    ['EOF', rawBoolean(isEnd)],
    ['CRC', rawInt64(BigInt.asIntN(64, crc))],
  ])
}

/** Counts, bytes and CRC of a namespace while its blocks pass. */
export interface RunningNamespace extends Namespace {
  count: number
  bytes: number
  crc: Crc64
}

export async function startNamespace(namespace: Namespace): Promise<RunningNamespace> {
  return { database: namespace.database, collection: namespace.collection, count: 0, bytes: 0, crc: await newCrc64() }
}

export function addDocuments(running: RunningNamespace, documents: Buffer): void {
  running.crc.update(documents)
  running.bytes += documents.length
  for (let position = 0; position < documents.length; position += documents.readInt32LE(position)) running.count++
}

export function endOf({ database, collection, count, bytes, crc }: RunningNamespace): NamespaceEnd {
  return { database, collection, count, bytes, crc: count === 0 ? 0n : crc.value() }
}

function uint32Bytes(value: number): Buffer {
  return int32Bytes(value | 0)
}
