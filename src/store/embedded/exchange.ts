import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { CollectionInfo } from '../../archive/format.ts'
import { AppError, messageOf } from '../../core/app-error.ts'
import { splitDocuments } from '../../document/raw-document.ts'
import { declaredFields } from '../declared-fields.ts'
import type { Staging, StoreExchange } from '../staging.ts'
import type { CollectionSpec, Store } from '../store.ts'
import { indexValues } from './index-values.ts'
import { type EmbeddedOptions, openEmbeddedStore } from './store.ts'
import { createCatalogue, createIndexes, createTable, insertSql } from './tables.ts'

/** SQLite keeps these beside a database; a `-wal` that outlives its file would overwrite the next file of that name. */
const companions = ['-wal', '-shm', '-journal']

export function openEmbeddedExchange(options: EmbeddedOptions): StoreExchange {
  return new EmbeddedExchange(options)
}

class EmbeddedExchange implements StoreExchange {
  readonly #options: EmbeddedOptions

  constructor(options: EmbeddedOptions) {
    this.#options = options
  }

  async stage(id: string, collections: readonly CollectionSpec[]): Promise<Staging> {
    const path = this.#copy('staged', id)
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    for (const name of readdirSync(dirname(path))) if (name.startsWith('staged-')) rmSync(join(dirname(path), name))
    return new EmbeddedStaging({ ...this.#options, path, journalMode: 'delete' }, collections)
  }

  async cutOver(id: string): Promise<void> {
    const staged = this.#copy('staged', id)
    const live = this.#options.path
    const previous = this.#copy('previous', id)
    if (!existsSync(staged)) {
      if (existsSync(live)) return
      throw new AppError('not-found', `there is no staged database of restore "${id}" beside "${live}"`)
    }
    moveOnce(live, previous)
    for (const suffix of companions) rmSync(live + suffix, { force: true })
    move(staged, live)
  }

  async canGoBack(id: string): Promise<boolean> {
    return existsSync(this.#copy('previous', id))
  }

  async goBack(id: string): Promise<void> {
    const previous = this.#copy('previous', id)
    const undone = this.#copy('undone', id)
    const live = this.#options.path
    if (existsSync(previous)) {
      moveOnce(live, undone)
      move(previous, live)
    } else if (!existsSync(undone)) {
      throw new AppError('not-found', `the database as it was before restore "${id}" is not there any more`)
    }
  }

  async discard(id: string): Promise<void> {
    remove(this.#copy('staged', id))
  }

  async forget(id: string): Promise<void> {
    remove(this.#copy('previous', id))
    remove(this.#copy('undone', id))
  }

  #copy(role: 'staged' | 'previous' | 'undone', id: string): string {
    return join(dirname(this.#options.path), `${role}-${id}.db`)
  }
}

class EmbeddedStaging implements Staging {
  readonly #options: EmbeddedOptions
  readonly #specs: Map<string, CollectionSpec>
  readonly #database: DatabaseSync
  readonly #loaded = new Map<string, { fields: string[]; insert: StatementSync }>()

  constructor(options: EmbeddedOptions, collections: readonly CollectionSpec[]) {
    this.#options = options
    this.#specs = new Map(collections.map((spec) => [spec.name, spec]))
    this.#database = new DatabaseSync(options.path)
    this.#database.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32000')
    createCatalogue(this.#database)
  }

  async createCollection(info: CollectionInfo): Promise<void> {
    if (this.#loaded.has(info.name)) throw new AppError('exists', `collection "${info.name}" stands twice in the archive`)
    const fields = declaredFields(this.#specs.get(info.name))
    createTable(this.#database, info, fields)
    if (info.type === 'view') return
    this.#loaded.set(info.name, { fields, insert: this.#database.prepare(insertSql(info.name, fields)) })
  }

  async load(collection: string, documents: Buffer): Promise<void> {
    const table = this.#loaded.get(collection)
    if (table === undefined) throw new AppError('corrupt', `documents of "${collection}" come without its description`)
    this.#database.exec('BEGIN')
    for (const bytes of splitDocuments(documents)) {
      const { id, fields } = indexValues(bytes, table.fields)
      table.insert.run(id, ...fields, bytes)
    }
    this.#database.exec('COMMIT')
  }

  async finish(): Promise<void> {
    try {
      for (const collection of this.#loaded.keys()) createIndexes(this.#database, collection, this.#specs.get(collection))
    } catch (error) {
      throw new AppError('corrupt', `the archive holds documents that break a unique index: ${messageOf(error)}`, { cause: error })
    } finally {
      this.#database.close()
    }
    sync(this.#options.path)
  }

  async open(): Promise<Store> {
    if (this.#database.isOpen) this.#database.close()
    return openEmbeddedStore(this.#options)
  }
}

/** Renames a database with its companions. They go first: the file itself never stands where a foreign `-wal` is. */
function move(from: string, to: string): void {
  for (const suffix of [...companions, '']) {
    if (existsSync(from + suffix)) renameSync(from + suffix, to + suffix)
  }
  sync(dirname(to))
}

/** The file itself moves last: where it stands at the new place, an interrupted run had finished, and what is at the old place is new. */
function moveOnce(from: string, to: string): void {
  if (!existsSync(to)) move(from, to)
}

function remove(path: string): void {
  for (const suffix of ['', ...companions]) rmSync(path + suffix, { force: true })
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
