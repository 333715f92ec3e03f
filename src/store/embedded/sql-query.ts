import { decodeCursor } from '../cursor.ts'
import type { Condition, FieldValue, Query, Range, Where } from '../store.ts'
import { type SqlValue, sqlParameter } from './index-values.ts'
import { columnName, tableName } from './tables.ts'

export interface Sql {
  text: string
  parameters: SqlValue[]
}

const rangeOperators = { gt: '>', gte: '>=', lt: '<', lte: '<=' } as const satisfies Record<keyof Range, string>

/** One row more than asked tells whether a next page exists. */
export function pageSql(collection: string, query: Query, limit: number): Sql {
  const sort = query.sort ?? { field: '_id', direction: 'asc' }
  const parts = conditions(query.where ?? {})
  if (query.after !== undefined) parts.push(behind(query.after, sort))
  const order = sort.direction.toUpperCase()
  const orders = sort.field === '_id' ? `id ${order}` : `${columnName(sort.field)} ${order}, id ${order}`
  return joined(`SELECT doc FROM ${tableName(collection)}`, parts, `ORDER BY ${orders} LIMIT ${limit + 1}`)
}

export function countSql(collection: string, where: Where): Sql {
  return joined(`SELECT count(*) AS count FROM ${tableName(collection)}`, conditions(where), '')
}

function joined(start: string, parts: Sql[], end: string): Sql {
  const where = parts.length === 0 ? '' : ` WHERE ${parts.map((part) => part.text).join(' AND ')}`
  return { text: `${start}${where} ${end}`, parameters: parts.flatMap((part) => part.parameters) }
}

function behind(after: string, sort: { field: string; direction: 'asc' | 'desc' }): Sql {
  const position = decodeCursor(after, sort.field)
  const operator = sort.direction === 'asc' ? '>' : '<'
  if (sort.field === '_id') return { text: `id ${operator} ?`, parameters: [position.id] }
  return { text: `(${columnName(sort.field)}, id) ${operator} (?, ?)`, parameters: [sqlParameter(position.value), position.id] }
}

function conditions(where: Where): Sql[] {
  return Object.entries(where).map(([field, condition]) => conditionSql(columnName(field), condition))
}

function conditionSql(column: string, condition: Condition): Sql {
  if (condition === null) return { text: `${column} IS NULL`, parameters: [] }
  if (typeof condition !== 'object' || condition instanceof Date)
    return { text: `${column} = ?`, parameters: [sqlParameter(condition)] }
  if ('contains' in condition)
    return { text: condition.contains.map(() => `instr(${column}, ?) > 0`).join(' AND '), parameters: [...condition.contains] }
  if ('in' in condition) {
    return { text: `${column} IN (${condition.in.map(() => '?').join(', ')})`, parameters: condition.in.map(sqlParameter) }
  }
  const bounds = Object.entries(condition) as [keyof Range, FieldValue][]
  return {
    text: bounds.map(([bound]) => `${column} ${rangeOperators[bound]} ?`).join(' AND '),
    parameters: bounds.map(([, value]) => sqlParameter(value)),
  }
}
