import { bsonType } from './raw-document.ts'

/** A value with its BSON type byte, as bytes: what goes behind an element's name. */
export interface RawValue {
  type: number
  bytes: Buffer
}

/** Builds a document from names and raw values, keeping order and duplicates. */
export function buildDocument(members: Iterable<readonly [name: string, value: RawValue]>): Buffer {
  const parts: Buffer[] = []
  for (const [name, value] of members) parts.push(Buffer.from([value.type]), cString(name), value.bytes)
  const body = Buffer.concat(parts)
  const length = Buffer.alloc(4)
  length.writeInt32LE(body.length + 5)
  return Buffer.concat([length, body, Buffer.of(0)])
}

export function buildArray(values: Iterable<RawValue>): Buffer {
  return buildDocument([...values].map((value, index) => [String(index), value] as const))
}

export function rawString(text: string): RawValue {
  const utf8 = Buffer.from(text)
  return { type: bsonType.string, bytes: Buffer.concat([int32Bytes(utf8.length + 1), utf8, Buffer.of(0)]) }
}

export function rawInt32(value: number): RawValue {
  return { type: bsonType.int32, bytes: int32Bytes(value) }
}

export function rawInt64(value: bigint): RawValue {
  return { type: bsonType.int64, bytes: int64Bytes(value) }
}

export function rawDouble(value: number): RawValue {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return { type: bsonType.double, bytes }
}

export function rawBoolean(value: boolean): RawValue {
  return { type: bsonType.boolean, bytes: Buffer.of(value ? 1 : 0) }
}

export function rawDocument(bytes: Buffer): RawValue {
  return { type: bsonType.document, bytes }
}

export function rawArray(bytes: Buffer): RawValue {
  return { type: bsonType.array, bytes }
}

export function int32Bytes(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

export function int64Bytes(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(value)
  return bytes
}

export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`)
}

export const emptyDocument: Buffer = buildDocument([])
