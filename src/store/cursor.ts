import { AppError } from '../core/app-error.ts'
import type { FieldValue, Query, StoredDocument } from './store.ts'

/** Where a page ended: the value of the sort field and the id of its last document. */
export interface CursorPosition {
  sortField: string
  value: FieldValue
  id: string
}

function encodeCursor({ sortField, value, id }: CursorPosition): string {
  const encoded = value instanceof Date ? { date: value.getTime() } : value
  return Buffer.from(JSON.stringify([sortField, encoded, id])).toString('base64url')
}

/** The cursor behind the last document of a page. */
export function cursorBehind(last: StoredDocument, query: Query): string {
  const sortField = query.sort?.field ?? '_id'
  const value = (last as unknown as Record<string, FieldValue | undefined>)[sortField] ?? null
  return encodeCursor({ sortField, value, id: last._id })
}

/** @throws AppError `usage` not a cursor of a list in this order */
export function decodeCursor(text: string, sortField: string): CursorPosition {
  const [field, value, id] = parsed(text)
  if (field !== sortField || typeof id !== 'string') throw notACursor(text)
  const isDate = typeof value === 'object' && value !== null
  return { sortField, value: isDate ? new Date((value as { date: number }).date) : (value as FieldValue), id }
}

function parsed(text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
    if (Array.isArray(value)) return value
  } catch {}
  throw notACursor(text)
}

function notACursor(text: string): AppError {
  return new AppError('usage', `"${text}" is not a cursor of this list`, {
    hint: 'use "next_cursor" of the page before, with the same order',
  })
}
