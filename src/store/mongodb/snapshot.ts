import { randomUUID } from 'node:crypto'
import type { ClientSession, Db, MongoClient } from 'mongodb'
import type { CollectionInfo } from '../../archive/format.ts'
import { AppError } from '../../core/app-error.ts'
import type { Snapshot } from '../store.ts'
import { markerCollection, translated } from './client.ts'
import { readRawBatches } from './raw-batches.ts'
import { readRawCatalogue } from './raw-catalogue.ts'
import { isOurs } from './store.ts'

/**
 * Two ways to hold a point in time. A snapshot session may read for minutes, but not every server holds it, and nothing keeps its
 * commands at one router of a sharded cluster; a transaction with read concern "snapshot" ends after 60 s on a default server, but
 * holds. The first one that the marker proves is taken.
 */
const ways = ['snapshot session', 'transaction'] as const

export async function openSnapshot(client: MongoClient, database: Db): Promise<Snapshot> {
  const isSharded = (await database.admin().command({ hello: 1 })).msg === 'isdbgrid'
  for (const way of isSharded ? (['transaction'] as const) : ways) {
    const snapshot = await tryToOpen(client, database, way)
    if (snapshot !== undefined) return snapshot
  }
  throw new AppError('preflight', 'the MongoDB server gives no snapshot that holds: a later write is visible in it', {
    hint: 'stop the service and take the backup with "mongodump --archive", or move to a server with snapshot reads',
  })
}

async function tryToOpen(client: MongoClient, database: Db, way: (typeof ways)[number]): Promise<Snapshot | undefined> {
  const session = client.startSession(way === 'snapshot session' ? { snapshot: true } : {})
  if (way === 'transaction') session.startTransaction({ readConcern: { level: 'snapshot' }, readPreference: 'primary' })
  const snapshot = new MongoSnapshot(database, session)
  try {
    await snapshot.start()
    if (await snapshot.holds()) return snapshot
  } catch (error) {
    if (way === 'transaction') throw translated(error)
  }
  await snapshot[Symbol.asyncDispose]()
  return undefined
}

class MongoSnapshot implements Snapshot {
  takenAt = new Date()
  serverVersion = ''
  collections: readonly CollectionInfo[] = []
  readonly #database: Db
  readonly #session: ClientSession
  readonly #marker = randomUUID()

  constructor(database: Db, session: ClientSession) {
    this.#database = database
    this.#session = session
  }

  /** The first read fixes the point in time; only then the marker is written. */
  async start(): Promise<void> {
    const build = await this.#database.command({ buildInfo: 1 })
    this.serverVersion = String(build.version)
    this.collections = await readRawCatalogue(this.#database, isOurs)
    await this.#seesMarker(this.#session)
    this.takenAt = new Date()
    await this.#markers().insertOne({ _id: this.#marker })
  }

  async holds(): Promise<boolean> {
    return !(await this.#seesMarker(this.#session)) && (await this.#seesMarker(undefined))
  }

  async *read(collection: string): AsyncGenerator<Buffer> {
    try {
      yield* readRawBatches(this.#database, this.#session, collection)
    } catch (error) {
      throw translated(error)
    }
  }

  async prove(): Promise<void> {
    const isHeld = await this.holds().catch((error) => {
      throw translated(error)
    })
    const now = await readRawCatalogue(this.#database, isOurs)
    if (!isHeld || names(now) !== names(this.collections)) {
      throw new AppError('preflight', 'the snapshot of the database did not hold while it was read', {
        hint: 'run the backup again; if collections are being created or removed, wait until that has ended',
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#session.inTransaction()) await this.#session.abortTransaction().catch(() => {})
    await this.#session.endSession()
    await this.#markers()
      .deleteOne({ _id: this.#marker })
      .catch(() => {})
  }

  #markers() {
    return this.#database.collection<{ _id: string }>(markerCollection)
  }

  async #seesMarker(session: ClientSession | undefined): Promise<boolean> {
    const options = session === undefined ? { readConcern: 'majority' as const } : { session }
    return (await this.#markers().findOne({ _id: this.#marker }, options)) !== null
  }
}

function names(collections: readonly CollectionInfo[]): string {
  return JSON.stringify(collections.map((info) => info.name))
}
