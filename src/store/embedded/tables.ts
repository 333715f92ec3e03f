import type { DatabaseSync } from 'node:sqlite'
import type { CollectionInfo } from '../../archive/format.ts'
import { buildArray, buildDocument, rawArray, rawDocument, rawInt32, rawString } from '../../document/raw-builder.ts'
import { elementsOf, findElement, nestedDocument, stringValue } from '../../document/raw-document.ts'
import { declaredFields } from '../declared-fields.ts'
import type { CollectionSpec, IndexSpec } from '../store.ts'
import { indexValues } from './index-values.ts'

/**
 * One SQLite table per collection: `rid` keeps the order of insertion, `id` the document's id, one column per indexed field, and the
 * raw document last. The table `catalogue` keeps each collection's options and index specifications as raw BSON.
 */
export const fileFormat = 1

export function createCatalogue(database: DatabaseSync): void {
  database.exec(`CREATE TABLE IF NOT EXISTS catalogue (name TEXT PRIMARY KEY, info BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS snapshot_marker (id TEXT PRIMARY KEY);
    PRAGMA user_version = ${fileFormat}`)
}

export function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`
}

export function tableName(collection: string): string {
  return quoted(`c_${collection}`)
}

export function columnName(field: string): string {
  return field === '_id' ? 'id' : quoted(`f_${field}`)
}

export function insertSql(collection: string, fields: readonly string[]): string {
  const columns = ['id', ...fields.map(columnName), 'doc']
  return `INSERT INTO ${tableName(collection)} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`
}

export function readCatalogue(database: DatabaseSync): CollectionInfo[] {
  const rows = database.prepare('SELECT name, info FROM catalogue ORDER BY name').all() as { name: string; info: Uint8Array }[]
  return rows.map(({ name, info }) => decodeInfo(name, Buffer.from(info)))
}

/** Creates the table of a collection, without secondary indexes. */
export function createTable(database: DatabaseSync, info: CollectionInfo, fields: readonly string[]): void {
  database.prepare('INSERT INTO catalogue (name, info) VALUES (?, ?)').run(info.name, encodeInfo(info))
  if (info.type === 'view') return
  const columns = fields.map((field) => `${columnName(field)}, `).join('')
  database.exec(`CREATE TABLE ${tableName(info.name)} (rid INTEGER PRIMARY KEY, id NOT NULL, ${columns}doc BLOB NOT NULL)`)
}

/** Creates the index on ids and the declared ones. Every index ends with the id, which makes page order total. */
export function createIndexes(database: DatabaseSync, collection: string, spec: CollectionSpec | undefined): void {
  const table = tableName(collection)
  database.exec(`CREATE UNIQUE INDEX IF NOT EXISTS ${quoted(`i_${collection}__id_`)} ON ${table} (id)`)
  for (const index of spec?.indexes ?? []) {
    const keys = Object.entries(index.key).map(([field, direction]) => `${columnName(field)}${direction < 0 ? ' DESC' : ''}`)
    const unique = index.unique ? 'UNIQUE ' : ''
    database.exec(`CREATE ${unique}INDEX IF NOT EXISTS ${quoted(`i_${collection}_${index.name}`)} ON ${table} (${keys.join(', ')})`)
  }
}

/** Creates what a declaration lacks in the file: the table, new columns (filled from the documents) and indexes. */
export function applyDeclaration(database: DatabaseSync, spec: CollectionSpec): void {
  const fields = declaredFields(spec)
  const columns = database.prepare(`SELECT name FROM pragma_table_info(?)`).all(`c_${spec.name}`) as { name: string }[]
  const missing = fields.filter((field) => !columns.some((column) => column.name === `f_${field}`))
  if (columns.length === 0) createTable(database, declaredInfo(spec), fields)
  else if (missing.length > 0) addColumns(database, spec.name, missing)
  createIndexes(database, spec.name, spec)
}

function addColumns(database: DatabaseSync, collection: string, fields: readonly string[]): void {
  const table = tableName(collection)
  for (const field of fields) database.exec(`ALTER TABLE ${table} ADD COLUMN ${columnName(field)}`)
  const assignments = fields.map((field) => `${columnName(field)} = ?`).join(', ')
  const update = database.prepare(`UPDATE ${table} SET ${assignments} WHERE rid = ?`)
  const rows = database.prepare(`SELECT rid, doc FROM ${table}`)
  for (const row of rows.all() as { rid: number; doc: Uint8Array }[]) {
    update.run(...indexValues(Buffer.from(row.doc), fields).fields, row.rid)
  }
}

/** What a dump says of a declared collection: the specifications that MongoDB would list. */
export function declaredInfo(spec: CollectionSpec): CollectionInfo {
  const idIndex: IndexSpec = { name: '_id_', key: { _id: 1 } }
  return { name: spec.name, type: 'collection', options: buildDocument([]), indexes: [idIndex, ...spec.indexes].map(rawIndexSpec) }
}

function rawIndexSpec(index: IndexSpec): Buffer {
  return buildDocument([
    ['v', rawInt32(2)],
    [
      'key',
      rawDocument(buildDocument(Object.entries(index.key).map(([field, direction]) => [field, rawInt32(direction)] as const))),
    ],
    ['name', rawString(index.name)],
    ...(index.unique ? [['unique', { type: 0x08, bytes: Buffer.of(1) }] as const] : []),
    ...(index.expireAfterSeconds === undefined ? [] : [['expireAfterSeconds', rawInt32(index.expireAfterSeconds)] as const]),
  ])
}

function encodeInfo(info: CollectionInfo): Buffer {
  return buildDocument([
    ['type', rawString(info.type)],
    ['options', rawDocument(info.options)],
    ['indexes', rawArray(buildArray(info.indexes.map(rawDocument)))],
  ])
}

function decodeInfo(name: string, bytes: Buffer): CollectionInfo {
  const element = (field: string) => {
    const found = findElement(bytes, field)
    if (found === undefined) throw new Error(`catalogue entry "${name}" lacks "${field}"`)
    return found
  }
  const indexes = nestedDocument(bytes, element('indexes'))
  return {
    name,
    type: stringValue(bytes, element('type')) as CollectionInfo['type'],
    options: nestedDocument(bytes, element('options')),
    indexes: [...elementsOf(indexes)].map((index) => nestedDocument(indexes, index)),
  }
}
