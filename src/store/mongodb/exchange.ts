import { deserialize, serialize } from 'bson'
import type { Db, MongoClient } from 'mongodb'
import type { CollectionInfo } from '../../archive/format.ts'
import { AppError, messageOf } from '../../core/app-error.ts'
import { findElement, stringValue } from '../../document/raw-document.ts'
import type { Staging, StoreExchange } from '../staging.ts'
import type { CollectionSpec, Store } from '../store.ts'
import { collectionNames, connect, exchangeCollection, translated } from './client.ts'
import { readRawCatalogue, toOrderedMap } from './raw-catalogue.ts'
import { insertRaw } from './raw-insert.ts'
import { isOurs, type MongoOptions, newMongoStore } from './store.ts'

/** Views cannot be renamed, so they are kept here as definitions until a cut-over or an undo makes them again. */
interface ExchangeState {
  _id: string
  retired: boolean
  /** Collections are being renamed: nobody may open the database. */
  moving: boolean
  stagedViews: ViewDefinition[]
  previousViews: ViewDefinition[]
}

interface ViewDefinition {
  name: string
  options: Buffer
}

/** The staged copy lives in the same database under a prefix: the application's user has no rights elsewhere. */
export async function openMongoExchange(options: MongoOptions): Promise<StoreExchange & AsyncDisposable> {
  const client = await connect(options.uri)
  return new MongoExchange(client, options.databaseName)
}

class MongoExchange implements StoreExchange, AsyncDisposable {
  readonly #client: MongoClient
  readonly #database: Db

  constructor(client: MongoClient, databaseName: string) {
    this.#client = client
    this.#database = client.db(databaseName)
  }

  async stage(id: string, _collections: readonly CollectionSpec[]): Promise<Staging> {
    await this.discard(id)
    const state: ExchangeState = { _id: id, retired: false, moving: false, stagedViews: [], previousViews: [] }
    await this.#states().insertOne(state)
    return new MongoStaging(this.#client, this.#database, id, async (view) => {
      await this.#states().updateOne({ _id: id }, { $push: { stagedViews: view } })
    })
  }

  /** First everything live steps back, then the staged copy steps forward; both are renames, so that a repeated run finds its place. */
  async cutOver(id: string): Promise<void> {
    const state = await this.#startMoving(id)
    if (!state.retired) {
      await this.#retireViews(id)
      await this.#renameAll(isOurs, (name) => prefixed('previous', id) + name)
      await this.#states().updateOne({ _id: id }, { $set: { retired: true } })
    }
    await this.#bringForward('staged', id)
    await this.#createViews(state.stagedViews)
    await this.#states().updateOne({ _id: id }, { $set: { moving: false } })
  }

  async canGoBack(id: string): Promise<boolean> {
    return (await this.#states().findOne({ _id: id }))?.retired === true
  }

  async goBack(id: string): Promise<void> {
    const state = await this.#startMoving(id)
    if (state.retired) {
      const views = await this.#views()
      for (const view of views) await this.#database.dropCollection(view.name)
      await this.#renameAll(isOurs, (name) => prefixed('undone', id) + name)
      await this.#states().updateOne({ _id: id }, { $set: { retired: false } })
    }
    await this.#bringForward('previous', id)
    await this.#createViews(state.previousViews)
    await this.#states().updateOne({ _id: id }, { $set: { moving: false } })
  }

  async discard(id: string): Promise<void> {
    await this.#dropAll('staged', id)
    await this.#states().deleteOne({ _id: id, retired: false })
  }

  async forget(id: string): Promise<void> {
    await this.#dropAll('previous', id)
    await this.#dropAll('undone', id)
    await this.#states().deleteOne({ _id: id })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close()
  }

  #states() {
    return this.#database.collection<ExchangeState>(exchangeCollection)
  }

  async #startMoving(id: string): Promise<ExchangeState> {
    const state = await this.#state(id)
    await this.#states().updateOne({ _id: id }, { $set: { moving: true } })
    return state
  }

  async #state(id: string): Promise<ExchangeState> {
    const state = await this.#states().findOne({ _id: id }, { promoteBuffers: true })
    if (state === null) throw new AppError('not-found', `the database holds nothing of restore "${id}"`)
    return state
  }

  async #names(): Promise<string[]> {
    return (await collectionNames(this.#database)).sort()
  }

  async #views(): Promise<ViewDefinition[]> {
    const infos = await readRawCatalogue(this.#database, isOurs)
    return infos.filter((info) => info.type === 'view').map(({ name, options }) => ({ name, options }))
  }

  async #retireViews(id: string): Promise<void> {
    for (const view of await this.#views()) {
      await this.#states().updateOne({ _id: id }, { $push: { previousViews: view } })
      await this.#database.dropCollection(view.name)
    }
  }

  async #createViews(views: ViewDefinition[]): Promise<void> {
    const existing = new Set((await this.#views()).map((view) => view.name))
    for (const { name, options } of views) {
      if (!existing.has(name)) await this.#database.command(createCommand(name, Buffer.from(options)))
    }
  }

  async #bringForward(role: 'staged' | 'previous', id: string): Promise<void> {
    const prefix = prefixed(role, id)
    await this.#renameAll(
      (name) => name.startsWith(prefix),
      (name) => name.slice(prefix.length),
    )
  }

  async #renameAll(isWanted: (name: string) => boolean, target: (name: string) => string): Promise<void> {
    try {
      for (const name of (await this.#names()).filter(isWanted)) await this.#database.collection(name).rename(target(name))
    } catch (error) {
      throw translated(error)
    }
  }

  async #dropAll(role: 'staged' | 'previous' | 'undone', id: string): Promise<void> {
    for (const name of await this.#names()) {
      if (name.startsWith(prefixed(role, id))) await this.#database.dropCollection(name)
    }
  }
}

class MongoStaging implements Staging {
  readonly #client: MongoClient
  readonly #database: Db
  readonly #prefix: string
  readonly #addView: (view: ViewDefinition) => Promise<void>
  readonly #indexes = new Map<string, Buffer[]>()

  constructor(client: MongoClient, database: Db, id: string, addView: (view: ViewDefinition) => Promise<void>) {
    this.#client = client
    this.#database = database
    this.#prefix = prefixed('staged', id)
    this.#addView = addView
  }

  async createCollection(info: CollectionInfo): Promise<void> {
    if (this.#indexes.has(info.name)) throw new AppError('exists', `collection "${info.name}" stands twice in the archive`)
    if (info.type === 'view') return this.#addView({ name: info.name, options: info.options })
    if (info.type === 'timeseries') {
      throw new AppError('preflight', `"${info.name}" is a time-series collection, which cannot be restored here`)
    }
    this.#indexes.set(info.name, info.indexes)
    await this.#database.command(createCommand(this.#prefix + info.name, info.options))
  }

  async load(collection: string, documents: Buffer): Promise<void> {
    if (!this.#indexes.has(collection)) throw new AppError('corrupt', `documents of "${collection}" come without its description`)
    try {
      await insertRaw(this.#database, this.#prefix + collection, documents)
    } catch (error) {
      throw new AppError('corrupt', `MongoDB refused documents of "${collection}": ${messageOf(error)}`, { cause: error })
    }
  }

  async finish(): Promise<void> {
    for (const [name, indexes] of this.#indexes) {
      const wanted = indexes.filter((index) => !comesWithCollection(index)).map(orderedSpec)
      if (wanted.length === 0) continue
      try {
        await this.#database.command({ createIndexes: this.#prefix + name, indexes: wanted })
      } catch (error) {
        throw new AppError('corrupt', `MongoDB refused an index of "${name}": ${messageOf(error)}`, { cause: error })
      }
    }
  }

  async open(): Promise<Store> {
    return newMongoStore(this.#client, this.#database.databaseName, this.#prefix)
  }
}

function prefixed(role: 'staged' | 'previous' | 'undone', id: string): string {
  return `${role}_${id}_`
}

/** Names of options never look like integers, so that a plain object keeps their order; what is in them may. */
function createCommand(name: string, options: Buffer): Record<string, unknown> {
  const { create: _create, ...wanted } = Object.fromEntries(toOrderedMap(options, scalarValue))
  return { create: name, ...wanted }
}

/** Made with the collection itself: the index on `_id`, and the one that a clustered collection lists as its own. */
function comesWithCollection(index: Buffer): boolean {
  const name = findElement(index, 'name')
  const isOfId = name !== undefined && stringValue(index, name) === '_id_'
  return isOfId || findElement(index, 'clustered') !== undefined
}

/** @throws AppError `corrupt` the specification cannot be sent unchanged */
function orderedSpec(index: Buffer): Map<string, unknown> {
  const map = toOrderedMap(index, scalarValue)
  if (!Buffer.from(serialize(map)).equals(index)) {
    throw new AppError(
      'corrupt',
      'an index specification holds duplicate keys or a date beyond JavaScript, which MongoDB cannot be sent',
    )
  }
  return map
}

function scalarValue(document: Buffer): unknown {
  return deserialize(document, { promoteValues: false, bsonRegExp: true }).v
}
