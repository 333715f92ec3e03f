import { AppError } from './app-error.ts'

/**
 * JSON with sorted keys and no white space, so that the same value always has the same bytes: what we sign and what the audit chain
 * covers. The subset of RFC 8785 that holds strings, booleans, null, safe integers, dates (as ISO 8601 text), arrays and objects.
 * @throws AppError `failed` for any other value
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value)
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  if (value instanceof Date) return JSON.stringify(value.toISOString())
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) return canonicalObject(value)
  throw new AppError('failed', `a ${typeof value} has no canonical JSON form`)
}

function canonicalObject(value: object): string {
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`)
  return `{${members.join(',')}}`
}
