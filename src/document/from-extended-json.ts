import { Decimal128 } from 'bson'
import { AppError, messageOf } from '../core/app-error.ts'
import { type JsonNode, parseJsonNodes } from './json-nodes.ts'
import {
  buildArray,
  buildDocument,
  cString,
  int32Bytes,
  int64Bytes,
  type RawValue,
  rawArray,
  rawBoolean,
  rawDocument,
  rawDouble,
  rawInt32,
  rawInt64,
  rawString,
} from './raw-builder.ts'
import { bsonType } from './raw-document.ts'

type Members = Extract<JsonNode, { kind: 'object' }>['members']

/**
 * Raw BSON of Extended JSON 2.0 (canonical or relaxed), keeping key order and duplicate keys.
 * @throws AppError `corrupt` naming what is wrong
 */
export function fromExtendedJson(text: string): Buffer {
  const node = parseJsonNodes(text)
  if (node.kind !== 'object') throw corrupt('an object was expected')
  try {
    return objectBytes(node.members)
  } catch (error) {
    if (error instanceof AppError) throw error
    throw corrupt(messageOf(error), error)
  }
}

function objectBytes(members: Members): Buffer {
  return buildDocument(members.map(([name, node]) => [name, rawValue(node)] as const))
}

function rawValue(node: JsonNode): RawValue {
  switch (node.kind) {
    case 'string':
      return rawString(node.value)
    case 'number':
      return rawNumber(node.text)
    case 'literal':
      return node.value === null ? { type: bsonType.null, bytes: Buffer.alloc(0) } : rawBoolean(node.value)
    case 'array':
      return rawArray(buildArray(node.values.map(rawValue)))
    case 'object':
      return wrapped(node.members) ?? rawDocument(objectBytes(node.members))
  }
}

function rawNumber(text: string): RawValue {
  if (!/^-?\d+$/.test(text)) return rawDouble(Number(text))
  const value = BigInt(text)
  if (value === BigInt.asIntN(32, value)) return rawInt32(Number(value))
  return value === BigInt.asIntN(64, value) ? rawInt64(value) : rawDouble(Number(text))
}

/** Readers of the type wrappers that hold one member. */
const wrappers: Record<string, (node: JsonNode) => RawValue> = {
  $numberInt: (node) => rawInt32(Number(string(node))),
  $numberLong: (node) => rawInt64(BigInt(string(node))),
  $numberDouble: (node) => rawDouble(Number(string(node))),
  $numberDecimal: (node) => ({
    type: bsonType.decimal128,
    bytes: Buffer.from(Decimal128.fromString(string(node)).bytes),
  }),
  $oid: (node) => ({ type: bsonType.objectId, bytes: hex(string(node), 12) }),
  $symbol: (node) => ({ type: bsonType.symbol, bytes: rawString(string(node)).bytes }),
  $code: (node) => ({ type: bsonType.code, bytes: rawString(string(node)).bytes }),
  $undefined: () => ({ type: bsonType.undefined, bytes: Buffer.alloc(0) }),
  $minKey: () => ({ type: bsonType.minKey, bytes: Buffer.alloc(0) }),
  $maxKey: () => ({ type: bsonType.maxKey, bytes: Buffer.alloc(0) }),
  $date: rawDate,
  $binary: (node) => rawBinary(node),
  $regularExpression: (node) => ({
    type: bsonType.regex,
    bytes: Buffer.concat([cString(string(member(node, 'pattern'))), cString(string(member(node, 'options')))]),
  }),
  $timestamp: (node) => {
    const bytes = Buffer.alloc(8)
    bytes.writeUInt32LE(integer(member(node, 'i')), 0)
    bytes.writeUInt32LE(integer(member(node, 't')), 4)
    return { type: bsonType.timestamp, bytes }
  },
  $dbPointer: (node) => ({
    type: bsonType.dbPointer,
    bytes: Buffer.concat([rawString(string(member(node, '$ref'))).bytes, hex(string(member(member(node, '$id'), '$oid')), 12)]),
  }),
}

function wrapped(members: Members): RawValue | undefined {
  const [first, second] = members
  if (first === undefined) return undefined
  if (members.length === 2 && first[0] === '$code' && second?.[0] === '$scope') return rawCodeWithScope(first[1], second[1])
  if (members.length !== 1 || !Object.hasOwn(wrappers, first[0])) return undefined
  return wrappers[first[0]]?.(first[1])
}

function rawDate(node: JsonNode): RawValue {
  const millis = node.kind === 'string' ? BigInt(Date.parse(node.value)) : BigInt(string(member(node, '$numberLong')))
  return { type: bsonType.date, bytes: int64Bytes(millis) }
}

function rawBinary(node: JsonNode): RawValue {
  const data = Buffer.from(string(member(node, 'base64')), 'base64')
  const subType = Number.parseInt(string(member(node, 'subType')), 16)
  return { type: bsonType.binary, bytes: Buffer.concat([int32Bytes(data.length), Buffer.of(subType), data]) }
}

function rawCodeWithScope(code: JsonNode, scope: JsonNode): RawValue {
  if (scope.kind !== 'object') throw corrupt('"$scope" is not an object')
  const body = Buffer.concat([rawString(string(code)).bytes, objectBytes(scope.members)])
  return { type: bsonType.codeWithScope, bytes: Buffer.concat([int32Bytes(body.length + 4), body]) }
}

function member(node: JsonNode, name: string): JsonNode {
  const found = node.kind === 'object' ? node.members.find(([key]) => key === name) : undefined
  if (found === undefined) throw corrupt(`member "${name}" is missing`)
  return found[1]
}

function string(node: JsonNode): string {
  if (node.kind !== 'string') throw corrupt('a string was expected')
  return node.value
}

function integer(node: JsonNode): number {
  if (node.kind !== 'number') throw corrupt('a number was expected')
  return Number(node.text)
}

function hex(text: string, size: number): Buffer {
  const bytes = Buffer.from(text, 'hex')
  if (bytes.length !== size) throw corrupt(`"${text}" is not ${size} bytes of hex`)
  return bytes
}

function corrupt(message: string, cause?: unknown): AppError {
  return new AppError('corrupt', `not valid Extended JSON: ${message}`, { cause })
}
