import { AppError } from '../core/app-error.ts'

/** One element of a raw BSON document. `start` and `end` delimit the value's bytes. Source: bsonspec.org, version 1.1. */
export interface Element {
  type: number
  name: string
  start: number
  end: number
}

/** BSON type bytes that the code names; the walker knows all of them. */
export const bsonType = {
  double: 0x01,
  string: 0x02,
  document: 0x03,
  array: 0x04,
  binary: 0x05,
  undefined: 0x06,
  objectId: 0x07,
  boolean: 0x08,
  date: 0x09,
  null: 0x0a,
  regex: 0x0b,
  dbPointer: 0x0c,
  code: 0x0d,
  symbol: 0x0e,
  codeWithScope: 0x0f,
  int32: 0x10,
  timestamp: 0x11,
  int64: 0x12,
  decimal128: 0x13,
  maxKey: 0x7f,
  minKey: 0xff,
} as const

/** Sizes of values that have always the same size. */
const fixedSizes = new Map<number, number>([
  [bsonType.double, 8],
  [bsonType.undefined, 0],
  [bsonType.objectId, 12],
  [bsonType.boolean, 1],
  [bsonType.date, 8],
  [bsonType.null, 0],
  [bsonType.int32, 4],
  [bsonType.timestamp, 8],
  [bsonType.int64, 8],
  [bsonType.decimal128, 16],
  [bsonType.maxKey, 0],
  [bsonType.minKey, 0],
])

/** Documents up to 16 MiB are stored by MongoDB; its own tools allow 16 KiB more for internal documents. */
export const maxDocumentBytes = 16 * 1024 * 1024 + 16 * 1024

/** Walks the elements of the document that starts at `offset`. @throws AppError `corrupt` when the bytes are not BSON */
export function* elementsOf(bytes: Buffer, offset = 0): Generator<Element> {
  const end = documentEnd(bytes, offset)
  let position = offset + 4
  while (position < end - 1) {
    const element = readElement(bytes, position, end - 1)
    yield element
    position = element.end
  }
}

/** Names as they stand in documents. Only those that the code asks for, so there are few. */
const terminatedNames = new Map<string, Buffer>()

function terminated(name: string): Buffer {
  const known = terminatedNames.get(name) ?? Buffer.from(`${name}\0`)
  terminatedNames.set(name, known)
  return known
}

/** The first element called `name`, without making objects of the others. */
export function findElement(bytes: Buffer, name: string, offset = 0): Element | undefined {
  const wanted = terminated(name)
  const end = documentEnd(bytes, offset) - 1
  let position = offset + 4
  while (position < end) {
    const type = bytes[position] as number
    const nameEnd = endOfCString(bytes, position + 1, end)
    const start = nameEnd + 1
    const valueEnd = endOfValue(bytes, type, start, end)
    if (start - position - 1 === wanted.length && bytes.compare(wanted, 0, wanted.length, position + 1, start) === 0) {
      return { type, name, start, end: valueEnd }
    }
    position = valueEnd
  }
  return undefined
}

/** The bytes of a nested document or array. @throws AppError `corrupt` for another type */
export function nestedDocument(bytes: Buffer, element: Element): Buffer {
  if (element.type !== bsonType.document && element.type !== bsonType.array) {
    throw corrupt(`element "${element.name}" is not a document`)
  }
  return bytes.subarray(element.start, element.end)
}

/** The text of a string element. @throws AppError `corrupt` for another type */
export function stringValue(bytes: Buffer, element: Element): string {
  if (element.type !== bsonType.string) throw corrupt(`element "${element.name}" is not a string`)
  if (bytes[element.end - 1] !== 0) throw corrupt(`string "${element.name}" is not terminated`)
  return bytes.toString('utf8', element.start + 4, element.end - 1)
}

/** The payload of a binary element, not copied. @throws AppError `corrupt` for another type */
export function binaryValue(bytes: Buffer, element: Element): Buffer {
  if (element.type !== bsonType.binary) throw corrupt(`element "${element.name}" is not binary`)
  return bytes.subarray(element.start + 5, element.end)
}

/** Splits concatenated documents. The views share memory with `bytes`. */
export function* splitDocuments(bytes: Buffer): Generator<Buffer> {
  let position = 0
  while (position < bytes.length) {
    const end = documentEnd(bytes, position)
    yield bytes.subarray(position, end)
    position = end
  }
}

function documentEnd(bytes: Buffer, offset: number): number {
  if (offset + 5 > bytes.length) throw corrupt('a document is cut short')
  const end = offset + bytes.readInt32LE(offset)
  if (end < offset + 5 || end > bytes.length || bytes[end - 1] !== 0) throw corrupt('a document has a wrong length')
  return end
}

function readElement(bytes: Buffer, position: number, limit: number): Element {
  const type = bytes[position] as number
  const nameEnd = endOfCString(bytes, position + 1, limit)
  const start = nameEnd + 1
  return { type, name: bytes.toString('utf8', position + 1, nameEnd), start, end: endOfValue(bytes, type, start, limit) }
}

function endOfValue(bytes: Buffer, type: number, start: number, limit: number): number {
  const end = start + valueSize(bytes, type, start, limit)
  if (end < start || end > limit) throw corrupt('an element reaches beyond its document')
  return end
}

function valueSize(bytes: Buffer, type: number, start: number, limit: number): number {
  const fixed = fixedSizes.get(type)
  if (fixed !== undefined) return fixed
  if (type === bsonType.regex) return endOfCString(bytes, endOfCString(bytes, start, limit) + 1, limit) + 1 - start
  if (start + 4 > limit) throw corrupt('an element is cut short')
  const length = bytes.readInt32LE(start)
  if (length < 0) throw corrupt('an element has a negative length')
  switch (type) {
    case bsonType.string:
    case bsonType.code:
    case bsonType.symbol:
      if (length < 1) throw corrupt('a string has a wrong length')
      return 4 + length
    case bsonType.dbPointer:
      return 4 + length + 12
    case bsonType.binary:
      return 5 + length
    case bsonType.document:
    case bsonType.array:
    case bsonType.codeWithScope:
      if (length < 5) throw corrupt('a nested document has a wrong length')
      return length
    default:
      throw corrupt(`unknown BSON type 0x${type.toString(16).padStart(2, '0')}`)
  }
}

function endOfCString(bytes: Buffer, start: number, limit: number): number {
  const end = bytes.indexOf(0, start)
  if (end < 0 || end >= limit + 1) throw corrupt('a name is not terminated')
  return end
}

function corrupt(message: string): AppError {
  return new AppError('corrupt', `not valid BSON: ${message}`)
}
