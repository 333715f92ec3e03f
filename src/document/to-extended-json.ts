import { Decimal128 } from 'bson'
import { AppError } from '../core/app-error.ts'
import { bsonType, type Element, elementsOf } from './raw-document.ts'

/** Deeper nesting than MongoDB itself allows (100 levels) is refused, so that hostile input cannot exhaust the stack. */
const maxDepth = 200

/**
 * Canonical Extended JSON 2.0 of a raw document. Works on bytes, so that key order, duplicate keys and dates beyond JavaScript's
 * range are kept; objects of the `bson` library would lose them.
 * @throws AppError `corrupt`
 */
export function toExtendedJson(bytes: Buffer): string {
  return documentJson(bytes, 0)
}

function documentJson(bytes: Buffer, depth: number): string {
  const members: string[] = []
  for (const element of elementsOf(bytes)) members.push(`${JSON.stringify(element.name)}:${valueJson(bytes, element, depth)}`)
  return `{${members.join(',')}}`
}

function arrayJson(bytes: Buffer, depth: number): string {
  const values: string[] = []
  for (const element of elementsOf(bytes)) values.push(valueJson(bytes, element, depth))
  return `[${values.join(',')}]`
}

function valueJson(bytes: Buffer, element: Element, depth: number): string {
  if (depth > maxDepth) throw new AppError('corrupt', `not valid BSON: nested deeper than ${maxDepth} levels`)
  const { start, end } = element
  const value = bytes.subarray(start, end)
  switch (element.type) {
    case bsonType.double:
      return `{"$numberDouble":"${doubleText(value.readDoubleLE())}"}`
    case bsonType.string:
      return JSON.stringify(textOf(value))
    case bsonType.document:
      return documentJson(value, depth + 1)
    case bsonType.array:
      return arrayJson(value, depth + 1)
    case bsonType.binary:
      return binaryJson(value)
    case bsonType.undefined:
      return '{"$undefined":true}'
    case bsonType.objectId:
      return `{"$oid":"${value.toString('hex')}"}`
    case bsonType.boolean:
      return value[0] === 1 ? 'true' : 'false'
    case bsonType.date:
      return `{"$date":{"$numberLong":"${value.readBigInt64LE()}"}}`
    case bsonType.null:
      return 'null'
    case bsonType.regex:
      return regexJson(value)
    case bsonType.dbPointer:
      return `{"$dbPointer":{"$ref":${JSON.stringify(textOf(value.subarray(0, -12)))},"$id":{"$oid":"${value.toString('hex', value.length - 12)}"}}}`
    case bsonType.code:
      return `{"$code":${JSON.stringify(textOf(value))}}`
    case bsonType.symbol:
      return `{"$symbol":${JSON.stringify(textOf(value))}}`
    case bsonType.codeWithScope:
      return codeWithScopeJson(value, depth)
    case bsonType.int32:
      return `{"$numberInt":"${value.readInt32LE()}"}`
    case bsonType.timestamp:
      return `{"$timestamp":{"t":${value.readUInt32LE(4)},"i":${value.readUInt32LE(0)}}}`
    case bsonType.int64:
      return `{"$numberLong":"${value.readBigInt64LE()}"}`
    case bsonType.decimal128:
      return `{"$numberDecimal":"${new Decimal128(Uint8Array.from(value)).toString()}"}`
    case bsonType.minKey:
      return '{"$minKey":1}'
    default:
      return '{"$maxKey":1}'
  }
}

function textOf(value: Buffer): string {
  return value.toString('utf8', 4, value.length - 1)
}

function binaryJson(value: Buffer): string {
  const subType = (value[4] as number).toString(16).padStart(2, '0')
  return `{"$binary":{"base64":"${value.toString('base64', 5)}","subType":"${subType}"}}`
}

function regexJson(value: Buffer): string {
  const patternEnd = value.indexOf(0)
  const pattern = value.toString('utf8', 0, patternEnd)
  const options = value.toString('utf8', patternEnd + 1, value.length - 1)
  return `{"$regularExpression":{"pattern":${JSON.stringify(pattern)},"options":${JSON.stringify(options)}}}`
}

/** Layout: int32 total, string code, document scope. */
function codeWithScopeJson(value: Buffer, depth: number): string {
  const codeBytes = value.length >= 8 ? value.readInt32LE(4) : -1
  if (codeBytes < 1 || 8 + codeBytes > value.length) throw new AppError('corrupt', 'not valid BSON: code with a wrong length')
  const code = value.toString('utf8', 8, 8 + codeBytes - 1)
  return `{"$code":${JSON.stringify(code)},"$scope":${documentJson(value.subarray(8 + codeBytes), depth + 1)}}`
}

function doubleText(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  if (Object.is(value, -0)) return '-0.0'
  return Number.isInteger(value) && Math.abs(value) < 1e21 ? `${value}.0` : String(value)
}
