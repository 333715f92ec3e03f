import { AppError } from '../../core/app-error.ts'
import { bsonType, type Element, elementsOf } from '../../document/raw-document.ts'
import type { FieldValue } from '../store.ts'

/** What SQLite keeps of a BSON value for comparing and sorting. */
export type SqlValue = string | number | bigint | null | Uint8Array

export interface IndexValues {
  id: SqlValue
  fields: SqlValue[]
}

/** The id and the indexed top-level fields of a raw document. @throws AppError `corrupt` not BSON, or without an id */
export function indexValues(bytes: Buffer, fields: readonly string[]): IndexValues {
  const values: SqlValue[] = fields.map(() => null)
  let id: SqlValue | undefined
  let missing = fields.length + 1
  for (const element of elementsOf(bytes)) {
    if (missing === 0) break
    const index = element.name === '_id' ? -1 : fields.indexOf(element.name)
    if (index < 0 && element.name !== '_id') continue
    if (index < 0) id ??= idValue(bytes, element)
    else values[index] = sqlValue(bytes, element)
    missing--
  }
  if (id === undefined) throw new AppError('corrupt', 'a document has no "_id"')
  return { id, fields: values }
}

/** Ids that are plain text stay text; any other id becomes its type byte and its bytes, so that ids of all types are kept apart. */
function idValue(bytes: Buffer, element: Element): SqlValue {
  const value = bytes.subarray(element.start, element.end)
  if (element.type === bsonType.string) {
    const utf8 = value.subarray(4, -1)
    const text = utf8.toString()
    if (!text.includes('\0') && Buffer.from(text).equals(utf8)) return text
  }
  return Buffer.concat([Buffer.of(element.type), value])
}

function sqlValue(bytes: Buffer, { type, start, end }: Element): SqlValue {
  switch (type) {
    case bsonType.string:
      return bytes.toString('utf8', start + 4, end - 1)
    case bsonType.double:
      return bytes.readDoubleLE(start)
    case bsonType.int32:
      return bytes.readInt32LE(start)
    case bsonType.int64:
    case bsonType.date:
      return bytes.readBigInt64LE(start)
    case bsonType.boolean:
      return bytes[start] as number
    case bsonType.objectId:
      return bytes.subarray(start, end)
    default:
      return null
  }
}

/** A value of a query, as `sqlValue` keeps it. */
export function sqlParameter(value: FieldValue): SqlValue {
  if (value instanceof Date) return BigInt(value.getTime())
  return typeof value === 'boolean' ? Number(value) : value
}
