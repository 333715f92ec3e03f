import type { ClientSession, Collection, Db, Document, MongoClient, ReadPreferenceMode } from 'mongodb'
import { AppError } from '../../core/app-error.ts'
import { cursorBehind } from '../cursor.ts'
import { refuseUndeclaredFields } from '../declared-fields.ts'
import type {
  Change,
  CollectionSpec,
  IndexSpec,
  Page,
  Query,
  Snapshot,
  SnapshotOptions,
  Store,
  StoredDocument,
  Where,
} from '../store.ts'
import { collectionNames, connect, exchangeCollection, markerCollection, translated } from './client.ts'
import { filterOf, pageFilter, sortOf } from './filter.ts'
import { openReader } from './reader.ts'
import { openQuiescedView, openSnapshot } from './snapshot.ts'

export interface MongoOptions {
  uri: string
  databaseName: string
  /** Which member of a replica set a snapshot is read from. */
  readPreference?: ReadPreferenceMode
  /** How long one answer may take while a snapshot is read. */
  answerMs?: number
}

/** Opens the store on a MongoDB server. @throws AppError `config` · `unreachable` · `preflight` */
export async function openMongoStore(options: MongoOptions): Promise<Store> {
  const client = await connect(options.uri)
  return new MongoStore(client, options, '')
}

/** A store whose collections carry a prefix: how a staged copy lives in the same database. */
export function newMongoStore(client: MongoClient, databaseName: string, prefix: string): Store {
  return new MongoStore(client, { uri: '', databaseName }, prefix)
}

class MongoStore implements Store {
  readonly engine = 'mongodb'
  readonly databaseName: string
  readonly #client: MongoClient
  readonly #database: Db
  readonly #prefix: string
  readonly #options: MongoOptions
  readonly #specs = new Map<string, CollectionSpec>()

  constructor(client: MongoClient, options: MongoOptions, prefix: string) {
    this.#client = client
    this.#database = client.db(options.databaseName)
    this.#prefix = prefix
    this.#options = options
    this.databaseName = options.databaseName
  }

  async prepare(collections: readonly CollectionSpec[]): Promise<void> {
    if (this.#prefix === '') await translate(this.#refuseWhileMoving())
    const existing = new Set(await translate(collectionNames(this.#database)))
    for (const spec of collections) {
      this.#specs.set(spec.name, spec)
      await translate(this.#create(this.#prefix + spec.name, existing))
      await translate(this.#createIndexes(spec))
    }
    if (this.#prefix === '') await translate(this.#create(markerCollection, existing))
  }

  async get<T extends StoredDocument>(collection: string, id: string): Promise<T | undefined> {
    const found = await translate(this.#collection(collection).findOne({ _id: id }))
    return (found as T | null) ?? undefined
  }

  async find<T extends StoredDocument>(collection: string, query: Query = {}): Promise<Page<T>> {
    refuseUndeclaredFields(this.#spec(collection), query)
    const limit = query.limit ?? 50
    const cursor = this.#collection(collection).find(pageFilter(query), { sort: sortOf(query), limit: limit + 1 })
    const found = (await translate(cursor.toArray())) as unknown as T[]
    const items = found.slice(0, limit)
    return { items, nextCursor: found.length > limit ? cursorBehind(items.at(-1) as T, query) : undefined }
  }

  async count(collection: string, where: Where = {}): Promise<number> {
    refuseUndeclaredFields(this.#spec(collection), { where })
    return translate(this.#collection(collection).countDocuments(filterOf(where)))
  }

  async commit(changes: readonly Change[]): Promise<void> {
    if (changes.length === 0) return
    await translate(
      this.#client.withSession((session) =>
        session.withTransaction(() => this.#applyAll(changes, session), {
          readConcern: { level: 'snapshot' },
          writeConcern: { w: 'majority', journal: true },
        }),
      ),
    )
  }

  async claim<T extends StoredDocument>(
    collection: string,
    query: { where: Where; sort: { field: string; direction: 'asc' | 'desc' } },
    set: Readonly<Record<string, unknown>>,
  ): Promise<T | undefined> {
    refuseUndeclaredFields(this.#spec(collection), query)
    const options = { sort: sortOf(query), returnDocument: 'after' } as const
    const found = await translate(this.#collection(collection).findOneAndUpdate(filterOf(query.where), { $set: set }, options))
    return (found as unknown as T | null) ?? undefined
  }

  /** The server's own TTL monitor does it. */
  async removeExpired(): Promise<void> {}

  async snapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
    return translate(this.#snapshot(options))
  }

  async ping(): Promise<void> {
    await translate(this.#database.command({ ping: 1 }))
  }

  /** A staged copy shares the client of its exchange, which closes it. */
  async close(): Promise<void> {
    if (this.#prefix === '') await this.#client.close()
  }

  async #snapshot({ isQuiesced = false }: SnapshotOptions): Promise<Snapshot> {
    const reader = await openReader(this.#client, this.#options)
    try {
      return await (isQuiesced ? openQuiescedView(this.#database, reader) : openSnapshot(this.#database, reader))
    } catch (error) {
      await reader[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Creating a collection in the middle of a cut-over would stand in the way of the one that is renamed to its name. */
  async #refuseWhileMoving(): Promise<void> {
    const moving = await this.#database.collection(exchangeCollection).findOne({ moving: true })
    if (moving === null) return
    throw new AppError('preflight', `a restore of this database is unfinished ("${moving._id}")`, {
      hint: 'start the service, or run a restore command, on the host where it was started: that finishes it',
    })
  }

  #spec(collection: string): CollectionSpec {
    const spec = this.#specs.get(collection)
    if (spec === undefined) throw new AppError('failed', `collection "${collection}" is not declared`)
    return spec
  }

  #collection(name: string): Collection<Document & StoredDocument> {
    this.#spec(name)
    return this.#database.collection(this.#prefix + name)
  }

  /** Another process may have created it meanwhile. */
  async #create(name: string, existing: ReadonlySet<string>): Promise<void> {
    if (!existing.has(name)) await this.#database.createCollection(name).catch(unlessItExists)
  }

  async #createIndexes(spec: CollectionSpec): Promise<void> {
    if (spec.indexes.length > 0) await this.#collection(spec.name).createIndexes(spec.indexes.map(indexDescription))
  }

  /** Operations of one transaction go one after the other; the server refuses two first ones at once (error 50911). */
  async #applyAll(changes: readonly Change[], session: ClientSession): Promise<void> {
    for (const change of changes) await this.#apply(change, session)
  }

  async #apply(change: Change, session: ClientSession): Promise<void> {
    if ('insert' in change) {
      await this.#collection(change.insert).insertOne(change.document, { session })
      return
    }
    const name = 'replace' in change ? change.replace : change.remove
    const id = 'replace' in change ? change.document._id : change.id
    const filter = { ...change.expect, _id: id }
    const collection = this.#collection(name)
    const matched =
      'replace' in change
        ? (await collection.replaceOne(filter, change.document, { session })).matchedCount
        : (await collection.deleteOne(filter, { session })).deletedCount
    if (matched === 0) throw new AppError('conflict', `"${id}" of "${name}" is gone or was changed meanwhile`)
  }
}

export function indexDescription(index: IndexSpec) {
  return {
    name: index.name,
    key: { ...index.key },
    ...(index.unique ? { unique: true } : {}),
    ...(index.expireAfterSeconds === undefined ? {} : { expireAfterSeconds: index.expireAfterSeconds }),
  }
}

/** Internal collections, and copies that a restore keeps, are no part of a dump. */
export function isOurs(collection: string): boolean {
  return (
    !collection.startsWith('system.') &&
    !/^(staged|previous|undone)_/.test(collection) &&
    collection !== exchangeCollection &&
    collection !== markerCollection
  )
}

async function translate<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw translated(error)
  }
}

function unlessItExists(error: unknown): void {
  if ((error as { code?: unknown }).code !== 48) throw error
}
