import type { Document } from 'mongodb'
import { decodeCursor } from '../cursor.ts'
import type { Condition, Query, Where } from '../store.ts'

export function filterOf(where: Where = {}): Document {
  const filter: Document = {}
  for (const [field, condition] of Object.entries(where)) {
    if (isText(condition)) filter.$and = [...(filter.$and ?? []), ...condition.contains.map((text) => ({ [field]: regex(text) }))]
    else filter[field] = filterValue(condition)
  }
  return filter
}

export function pageFilter(query: Query): Document {
  const filter = filterOf(query.where)
  if (query.after === undefined) return filter
  const sort = query.sort ?? { field: '_id', direction: 'asc' }
  const position = decodeCursor(query.after, sort.field)
  const operator = sort.direction === 'asc' ? '$gt' : '$lt'
  const behind =
    sort.field === '_id'
      ? { _id: { [operator]: position.id } }
      : {
          $or: [
            { [sort.field]: { [operator]: position.value } },
            { [sort.field]: position.value, _id: { [operator]: position.id } },
          ],
        }
  return { $and: [filter, behind] }
}

export function sortOf(query: Query): Record<string, 1 | -1> {
  const { field, direction } = query.sort ?? { field: '_id', direction: 'asc' }
  const order = direction === 'asc' ? 1 : -1
  return field === '_id' ? { _id: order } : { [field]: order, _id: order }
}

function isText(condition: Condition): condition is { contains: readonly string[] } {
  return typeof condition === 'object' && condition !== null && 'contains' in condition
}

function regex(text: string): Document {
  return { $regex: text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&') }
}

function filterValue(condition: Exclude<Condition, { contains: readonly string[] }>): unknown {
  if (condition === null || typeof condition !== 'object' || condition instanceof Date) return condition
  if ('in' in condition) return { $in: [...condition.in] }
  return Object.fromEntries(Object.entries(condition).map(([bound, value]) => [`$${bound}`, value]))
}
