import type { ClientSession, Db } from 'mongodb'
import { AppError } from '../../core/app-error.ts'
import { within } from '../../core/within.ts'
import { bsonType, type Element, elementsOf, nestedDocument } from '../../document/raw-document.ts'

const usualFirstDocuments = 500
/** How large answers are meant to be: small documents come by the thousands. Runs of one collection also compress better than a mixture. */
const batchBytes = 2 * 1024 * 1024
const mostDocuments = 10_000

export interface RawRead {
  database: Db
  session: ClientSession
  collection: string
  filter?: Record<string, unknown>
  /** How many documents come with the first answer. */
  firstDocuments?: number
  readConcern?: Record<string, unknown> | undefined
  /** How long one answer may take. */
  answerMs: number
}

/**
 * Reads a collection as buffers of whole documents, one behind the other, without an object for any of them. It speaks the cursor
 * commands itself: the driver's cursor hands out documents one by one, which costs as much as compressing them.
 */
export async function* readRawBatches(read: RawRead): AsyncGenerator<Buffer> {
  const { database, session, collection, filter, readConcern, answerMs } = read
  const run = (command: Record<string, unknown>) => answered(database.command(command, { session, raw: true }), answerMs)
  let batchSize = usualFirstDocuments
  let reply = await run({
    find: collection,
    batchSize: read.firstDocuments ?? batchSize,
    ...(filter === undefined ? {} : { filter }),
    ...(readConcern === undefined ? {} : { readConcern }),
  })
  for (;;) {
    const { id, documents } = takeBatch(reply.cursor as Uint8Array)
    if (documents.length > 0) {
      batchSize = Math.min(mostDocuments, Math.ceil((batchSize * batchBytes) / documents.length))
      yield documents
    }
    if (id === 0n) return
    reply = await run({ getMore: id, batchSize, collection })
  }
}

/** @throws AppError `unreachable` there is no answer in time: the driver itself would wait for ever */
function answered<T>(reply: Promise<T>, answerMs: number): Promise<T> {
  return within(
    answerMs,
    reply,
    () =>
      new AppError('unreachable', `MongoDB has not answered for ${answerMs / 1000} s while it was read`, {
        hint: 'look at the server and the way to it, then run the backup again',
      }),
  )
}

/**
 * The documents of a cursor's reply, and the cursor's id. In the reply they are members of an array with a key before each; they are
 * moved together where they are, so nothing is allocated. The reply is not whole afterwards.
 * @throws AppError `failed` it is not a cursor
 */
export function takeBatch(reply: Uint8Array): { id: bigint; documents: Buffer } {
  const cursor = Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength)
  let id: bigint | undefined
  let batch: Element | undefined
  for (const element of elementsOf(cursor)) {
    if (element.name === 'id' && element.type === bsonType.int64) id = cursor.readBigInt64LE(element.start)
    if (element.name === 'firstBatch' || element.name === 'nextBatch') batch = element
  }
  if (id === undefined || batch === undefined) throw new AppError('failed', 'MongoDB answered a cursor command without a cursor')
  return { id, documents: joinMembers(nestedDocument(cursor, batch)) }
}

/** A walk of its own, because making an element of every document costs as much as moving them. */
function joinMembers(array: Buffer): Buffer {
  let used = 0
  let position = 4
  while (array[position] === bsonType.document) {
    const start = array.indexOf(0, position) + 1
    position = start + array.readInt32LE(start)
    array.copyWithin(used, start, position)
    used += position - start
  }
  if (position !== array.length - 1)
    throw new AppError('failed', 'MongoDB answered a cursor command with something else than documents')
  return array.subarray(0, used)
}
