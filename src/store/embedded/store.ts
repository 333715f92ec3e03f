import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { deserialize, serialize } from 'bson'
import { AppError, messageOf } from '../../core/app-error.ts'
import { cursorBehind } from '../cursor.ts'
import { declaredFields, refuseUndeclaredFields } from '../declared-fields.ts'
import type { Change, CollectionSpec, Expectation, Page, Query, Snapshot, Store, StoredDocument, Where } from '../store.ts'
import { indexValues, type SqlValue } from './index-values.ts'
import { openSnapshot } from './snapshot.ts'
import { countSql, pageSql } from './sql-query.ts'
import { applyDeclaration, columnName, createCatalogue, fileFormat, insertSql, tableName } from './tables.ts'

export interface EmbeddedOptions {
  /** Path of the SQLite file; its folder is made when missing. */
  path: string
  databaseName: string
  /** A staged copy is one plain file until it goes live; the live one is in WAL mode. */
  journalMode?: 'wal' | 'delete'
}

/** Opens (and creates) the embedded store. @throws AppError `unreachable` · `too-new` */
export function openEmbeddedStore(options: EmbeddedOptions): Store {
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 })
  return new EmbeddedStore(openDatabase(options), options)
}

/** `synchronous = FULL` makes every commit durable against a power cut; NORMAL in WAL mode would not. */
function openDatabase({ path, journalMode = 'wal' }: EmbeddedOptions): DatabaseSync {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { timeout: 10_000 })
    database.exec(`PRAGMA journal_mode = ${journalMode}; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000`)
    refuseNewerFile(database, path)
    createCatalogue(database)
    return database
  } catch (error) {
    database?.close()
    if (error instanceof AppError) throw error
    throw new AppError('unreachable', `cannot open the database "${path}": ${messageOf(error)}`, {
      hint: 'check the file and its owner; "restore apply" moves a damaged file aside',
      cause: error,
    })
  }
}

function refuseNewerFile(database: DatabaseSync, path: string): void {
  const { user_version: version } = database.prepare('PRAGMA user_version').get() as { user_version: number }
  if (version > fileFormat) {
    throw new AppError('too-new', `the database "${path}" has file format ${version}, this program knows ${fileFormat}`, {
      hint: 'update CertAutopilot',
    })
  }
}

/**
 * All writes are synchronous: a transaction begins and ends within one turn of the event loop, so that requests cannot interleave in it.
 */
class EmbeddedStore implements Store {
  readonly engine = 'embedded'
  readonly databaseName: string
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #specs = new Map<string, CollectionSpec>()
  readonly #statements = new Map<string, StatementSync>()

  constructor(database: DatabaseSync, options: EmbeddedOptions) {
    this.#database = database
    this.#path = options.path
    this.databaseName = options.databaseName
  }

  async prepare(collections: readonly CollectionSpec[]): Promise<void> {
    this.#transaction(() => {
      for (const spec of collections) applyDeclaration(this.#database, spec)
    })
    for (const spec of collections) this.#specs.set(spec.name, spec)
  }

  async get<T extends StoredDocument>(collection: string, id: string): Promise<T | undefined> {
    this.#spec(collection)
    const row = this.#read(collection, id)
    return row === undefined ? undefined : decode<T>(row)
  }

  async find<T extends StoredDocument>(collection: string, query: Query = {}): Promise<Page<T>> {
    refuseUndeclaredFields(this.#spec(collection), query)
    const limit = query.limit ?? 50
    const { text, parameters } = pageSql(collection, query, limit)
    const rows = this.#statement(text).all(...parameters) as { doc: Uint8Array }[]
    const items = rows.slice(0, limit).map((row) => decode<T>(row.doc))
    return { items, nextCursor: rows.length > limit ? cursorBehind(items.at(-1) as T, query) : undefined }
  }

  async count(collection: string, where: Where = {}): Promise<number> {
    refuseUndeclaredFields(this.#spec(collection), { where })
    const { text, parameters } = countSql(collection, where)
    return (this.#statement(text).get(...parameters) as { count: number }).count
  }

  async commit(changes: readonly Change[]): Promise<void> {
    this.#transaction(() => {
      for (const change of changes) this.#apply(change)
    })
  }

  async claim<T extends StoredDocument>(
    collection: string,
    query: { where: Where; sort: { field: string; direction: 'asc' | 'desc' } },
    set: Readonly<Record<string, unknown>>,
  ): Promise<T | undefined> {
    refuseUndeclaredFields(this.#spec(collection), query)
    const { text, parameters } = pageSql(collection, query, 1)
    return this.#transaction(() => {
      const row = this.#statement(text).get(...parameters) as { doc: Uint8Array } | undefined
      if (row === undefined) return undefined
      const document = { ...decode<T>(row.doc), ...set }
      this.#write(collection, document)
      return document
    })
  }

  async removeExpired(now: Date): Promise<void> {
    for (const spec of this.#specs.values()) {
      for (const { key, expireAfterSeconds } of spec.indexes) {
        const field = Object.keys(key)[0]
        if (expireAfterSeconds === undefined || field === undefined) continue
        const limit = BigInt(now.getTime() - expireAfterSeconds * 1000)
        this.#statement(`DELETE FROM ${tableName(spec.name)} WHERE ${columnName(field)} <= ?`).run(limit)
      }
    }
  }

  async snapshot(): Promise<Snapshot> {
    return openSnapshot(this.#path)
  }

  async ping(): Promise<void> {
    this.#statement('SELECT 1').get()
  }

  async close(): Promise<void> {
    if (this.#database.isOpen) this.#database.close()
  }

  #spec(collection: string): CollectionSpec {
    const spec = this.#specs.get(collection)
    if (spec === undefined) throw new AppError('failed', `collection "${collection}" is not declared`)
    return spec
  }

  #apply(change: Change): void {
    if ('insert' in change) return this.#insert(change.insert, change.document)
    const collection = 'replace' in change ? change.replace : change.remove
    const id = 'replace' in change ? change.document._id : change.id
    const row = this.#read(collection, id)
    if (row === undefined) throw new AppError('conflict', `"${id}" of "${collection}" is gone`)
    if (!meets(decode(row), change.expect)) throw new AppError('conflict', `"${id}" of "${collection}" was changed meanwhile`)
    if ('replace' in change) this.#write(collection, change.document)
    else this.#statement(`DELETE FROM ${tableName(collection)} WHERE id = ?`).run(id)
  }

  #insert(collection: string, document: StoredDocument): void {
    const fields = declaredFields(this.#spec(collection))
    const bytes = encode(document)
    const values = indexValues(bytes, fields)
    this.#run(collection, document, insertSql(collection, fields), [values.id, ...values.fields, bytes])
  }

  #write(collection: string, document: StoredDocument): void {
    const fields = declaredFields(this.#spec(collection))
    const bytes = encode(document)
    const values = indexValues(bytes, fields)
    const assignments = [...fields.map((field) => `${columnName(field)} = ?, `), 'doc = ?'].join('')
    const text = `UPDATE ${tableName(collection)} SET ${assignments} WHERE id = ?`
    this.#run(collection, document, text, [...values.fields, bytes, values.id])
  }

  #run(collection: string, document: StoredDocument, text: string, parameters: SqlValue[]): void {
    try {
      this.#statement(text).run(...parameters)
    } catch (error) {
      if (!messageOf(error).includes('UNIQUE constraint failed')) throw error
      throw new AppError('exists', `"${document._id}" of "${collection}" takes a value that exists`, { cause: error })
    }
  }

  #read(collection: string, id: string): Uint8Array | undefined {
    const row = this.#statement(`SELECT doc FROM ${tableName(collection)} WHERE id = ?`).get(id)
    return (row as { doc: Uint8Array } | undefined)?.doc
  }

  #transaction<T>(run: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const result = run()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      this.#database.exec('ROLLBACK')
      throw error
    }
  }

  #statement(text: string): StatementSync {
    const known = this.#statements.get(text)
    if (known !== undefined) return known
    const statement = this.#database.prepare(text)
    this.#statements.set(text, statement)
    return statement
  }
}

function encode(document: StoredDocument): Buffer {
  const bytes = serialize(document, { ignoreUndefined: true })
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function decode<T extends StoredDocument>(bytes: Uint8Array): T {
  return deserialize(bytes, { promoteBuffers: true }) as T
}

function meets(document: StoredDocument, expect: Expectation = {}): boolean {
  return Object.entries(expect).every(([field, wanted]) => {
    const value = (document as unknown as Record<string, unknown>)[field] ?? null
    if (wanted instanceof Date) return value instanceof Date && value.getTime() === wanted.getTime()
    return value === wanted
  })
}
