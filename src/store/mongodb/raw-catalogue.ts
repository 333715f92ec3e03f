import type { Db } from 'mongodb'
import type { CollectionInfo } from '../../archive/format.ts'
import { emptyDocument } from '../../document/raw-builder.ts'
import { elementsOf, findElement, nestedDocument, stringValue } from '../../document/raw-document.ts'

/** Lists collections with options and index specifications as the raw bytes that the server sent. */
export async function readRawCatalogue(database: Db, isWanted: (name: string) => boolean): Promise<CollectionInfo[]> {
  const infos: CollectionInfo[] = []
  for (const bytes of await rawBatches(database, { listCollections: 1, cursor: { batchSize: 100_000 } })) {
    const info = collectionInfo(bytes)
    if (!isWanted(info.name)) continue
    if (info.type === 'collection')
      info.indexes = await rawBatches(database, { listIndexes: info.name, cursor: { batchSize: 1000 } })
    infos.push(info)
  }
  return infos.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** The first batch of a cursor command, undecoded. */
async function rawBatches(database: Db, command: Record<string, unknown>): Promise<Buffer[]> {
  const cursor = await database.runCursorCommand(command, { raw: true } as never)
  const batches: Buffer[] = []
  for await (const document of cursor) batches.push(Buffer.from(document as unknown as Uint8Array))
  return batches
}

function collectionInfo(bytes: Buffer): CollectionInfo {
  const text = (name: string) => {
    const element = findElement(bytes, name)
    return element === undefined ? undefined : stringValue(bytes, element)
  }
  const options = findElement(bytes, 'options')
  return {
    name: text('name') ?? '',
    type: (text('type') ?? 'collection') as CollectionInfo['type'],
    options: options === undefined ? emptyDocument : nestedDocument(bytes, options),
    indexes: [],
  }
}

/**
 * The same document as nested `Map`s for sending in a command: plain objects would reorder keys that look like integers.
 */
export function toOrderedMap(bytes: Buffer, scalar: (document: Buffer) => unknown): Map<string, unknown> {
  const map = new Map<string, unknown>()
  for (const element of elementsOf(bytes)) {
    const isDocument = element.type === 0x03
    map.set(element.name, isDocument ? toOrderedMap(nestedDocument(bytes, element), scalar) : scalar(single(bytes, element)))
  }
  return map
}

/** A document that holds one element of another, called `v`. */
function single(bytes: Buffer, element: { type: number; start: number; end: number }): Buffer {
  const size = 4 + 1 + 2 + (element.end - element.start) + 1
  const length = Buffer.alloc(4)
  length.writeInt32LE(size)
  return Buffer.concat([
    length,
    Buffer.of(element.type),
    Buffer.from('v\0'),
    bytes.subarray(element.start, element.end),
    Buffer.of(0),
  ])
}
