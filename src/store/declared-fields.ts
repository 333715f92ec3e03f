import { AppError } from '../core/app-error.ts'
import type { CollectionSpec, Query } from './store.ts'

/** The fields of a collection that are part of an index, in the order of their first mention, without `_id`. */
export function declaredFields(spec: CollectionSpec | undefined): string[] {
  const fields = new Set<string>()
  for (const index of spec?.indexes ?? []) for (const field of Object.keys(index.key)) fields.add(field)
  fields.delete('_id')
  return [...fields]
}

/** Refuses a query that would read the whole collection. @throws AppError `usage` */
export function refuseUndeclaredFields(spec: CollectionSpec, query: Query): void {
  const declared = new Set(['_id', ...declaredFields(spec)])
  const asked = [...Object.keys(query.where ?? {}), query.sort?.field ?? '_id']
  const undeclared = asked.find((field) => !declared.has(field))
  if (undeclared !== undefined)
    throw new AppError('usage', `"${undeclared}" of "${spec.name}" is not indexed: it can be neither condition nor order`)
}
