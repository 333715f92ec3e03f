import { randomUUID } from 'node:crypto'
import type { ClientSession, Db, Timestamp } from 'mongodb'
import type { CollectionInfo } from '../../archive/format.ts'
import { AppError } from '../../core/app-error.ts'
import { sleep } from '../../core/clock.ts'
import { toExtendedJson } from '../../document/to-extended-json.ts'
import type { Snapshot } from '../store.ts'
import { markerCollection, translated } from './client.ts'
import { readRawBatches } from './raw-batches.ts'
import { readRawCatalogue } from './raw-catalogue.ts'
import type { Reader } from './reader.ts'
import { isOurs } from './store.ts'

/**
 * Two ways to hold a point in time. A snapshot session may read for minutes and several collections at once, but not every server holds
 * it, and nothing keeps its commands at one router of a sharded cluster; a transaction with read concern "snapshot" ends after 60 s on a
 * default server and reads one after the other at the primary, but holds. The first one that the markers prove is taken.
 */
type Way = 'snapshot session' | 'transaction'

/** Defaults of the server, in case this user may not ask for its parameters. */
const defaultWindowsMs: Record<Way, number> = { 'snapshot session': 300_000, transaction: 60_000 }
/** A server that answers no more is not waited for at the end. */
const letGoMs = 5_000
/** How long a secondary may be behind what was acknowledged. */
const catchUpMs = 20_000

/** @throws AppError `preflight` no snapshot holds */
export async function openSnapshot(database: Db, reader: Reader): Promise<Snapshot> {
  const isSharded = (await database.admin().command({ hello: 1 })).msg === 'isdbgrid'
  const description = await describe(database)
  const ways: Way[] = isSharded ? [] : ['snapshot session']
  if (reader.isPrimary) ways.push('transaction')
  for (const way of ways) {
    const snapshot = await tryToOpen(database, reader, way, description)
    if (snapshot !== undefined) return snapshot
  }
  throw new AppError('preflight', 'the MongoDB server gives no snapshot that holds: a later write is visible in it', {
    hint: 'set backup.consistency: quiesced, or move to a server with snapshot reads',
  })
}

async function tryToOpen(database: Db, reader: Reader, way: Way, description: Description): Promise<Snapshot | undefined> {
  for (const deadline = performance.now() + catchUpMs; ; await sleep(200)) {
    const session = reader.client.startSession(way === 'snapshot session' ? { snapshot: true } : {})
    if (way === 'transaction') session.startTransaction({ readConcern: { level: 'snapshot' }, readPreference: 'primary' })
    const snapshot = new MongoSnapshot(database, reader, session, way, description)
    try {
      const standing = await snapshot.start()
      if (standing === 'holds') return snapshot
      await snapshot.end()
      if (standing === 'moves' || performance.now() > deadline) return undefined
    } catch (error) {
      await snapshot.end()
      const known = translated(error)
      if (known.code === 'unreachable') throw known
      return undefined
    }
  }
}

/** Reads what stands in the database while nobody writes. @throws AppError `unreachable` */
export async function openQuiescedView(database: Db, reader: Reader): Promise<Snapshot> {
  const view = new MongoSnapshot(database, reader, undefined, 'quiesced', await describe(database))
  await view.startQuiesced()
  return view
}

interface Description {
  serverVersion: string
  collections: readonly CollectionInfo[]
}

async function describe(database: Db): Promise<Description> {
  const { version } = await database.command({ buildInfo: 1 })
  return { serverVersion: String(version), collections: await readRawCatalogue(database, isOurs) }
}

class MongoSnapshot implements Snapshot {
  takenAt = new Date()
  clusterTime = ''
  windowMs: number | undefined
  readonly serverVersion: string
  readonly collections: readonly CollectionInfo[]
  readonly way: Way | 'quiesced'
  readonly #database: Db
  readonly #reader: Reader
  readonly #session: ClientSession | undefined
  /** Written before and after the point in time: the one must be seen in it, the other must not. */
  readonly #before = randomUUID()
  readonly #after = randomUUID()
  #afterClusterTime: unknown
  #isEnded = false

  constructor(
    database: Db,
    reader: Reader,
    session: ClientSession | undefined,
    way: Way | 'quiesced',
    { serverVersion, collections }: Description,
  ) {
    this.serverVersion = serverVersion
    this.collections = collections
    this.#database = database
    this.#reader = reader
    this.#session = session
    this.way = way
  }

  get isConcurrent(): boolean {
    return this.way !== 'transaction'
  }

  /** The first read fixes the point in time. @returns whether it holds, lacks what was written before it, or moves with later writes */
  async start(): Promise<'holds' | 'is behind' | 'moves'> {
    await this.#markers().insertOne({ _id: this.#before })
    // What is acknowledged until now is in it.
    this.takenAt = new Date()
    if (!(await this.#sees(this.#before))) return 'is behind'
    this.windowMs = await this.#window()
    this.clusterTime = timestampText(timeOf(this.#session as ClientSession))
    await this.#markers().insertOne({ _id: this.#after })
    return (await this.#holds()) ? 'holds' : 'moves'
  }

  /** What the primary has now is waited for at a secondary. */
  async startQuiesced(): Promise<void> {
    const { operationTime } = await this.#database.command({ ping: 1 })
    this.#afterClusterTime = operationTime
    this.clusterTime = timestampText(operationTime)
    this.takenAt = new Date()
  }

  async *read(collection: string): AsyncGenerator<Buffer> {
    const session = this.#session ?? this.#reader.client.startSession({ causalConsistency: false })
    const readConcern = this.#session === undefined ? this.#readConcern() : undefined
    try {
      yield* readRawBatches({ database: this.#reading(), session, collection, readConcern, answerMs: this.#reader.answerMs })
    } catch (error) {
      throw translated(error)
    } finally {
      if (session !== this.#session) await session.endSession()
    }
  }

  async dataBytes(): Promise<number | undefined> {
    const stats = await this.#database.command({ dbStats: 1 }).catch(() => undefined)
    return stats === undefined ? undefined : Number(stats.dataSize)
  }

  async prove(): Promise<void> {
    const isHeld =
      this.#session === undefined ||
      (await this.#holds().catch((error) => {
        throw translated(error)
      }))
    const now = await readRawCatalogue(this.#database, isOurs)
    if (!isHeld || signature(now) !== signature(this.collections)) {
      throw new AppError('preflight', 'the snapshot of the database did not hold while it was read', {
        hint: 'run the backup again; if collections or indexes are being made or removed, wait until that has ended',
      })
    }
  }

  /** Ends this point in time; another one may be opened with the same reader. */
  async end(): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    const limit = new AbortController()
    await Promise.race([this.#letGo().catch(() => {}), sleep(letGoMs, limit.signal)])
    limit.abort()
  }

  async #letGo(): Promise<void> {
    if (this.#session?.inTransaction()) await this.#session.abortTransaction().catch(() => {})
    await this.#session?.endSession()
    await this.#markers().deleteMany({ _id: { $in: [this.#before, this.#after] } })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
    await this.#reader[Symbol.asyncDispose]()
  }

  async #window(): Promise<number> {
    const way = this.way as Way
    const name = way === 'transaction' ? 'transactionLifetimeLimitSeconds' : 'minSnapshotHistoryWindowInSeconds'
    const reply = await this.#database
      .admin()
      .command({ getParameter: 1, [name]: 1 })
      .catch(() => ({}))
    const seconds = Number((reply as Record<string, unknown>)[name])
    return seconds > 0 ? seconds * 1000 : defaultWindowsMs[way]
  }

  #readConcern(): Record<string, unknown> {
    return { level: 'majority', ...(this.#afterClusterTime === undefined ? {} : { afterClusterTime: this.#afterClusterTime }) }
  }

  #reading(): Db {
    return this.#reader.client.db(this.#database.databaseName)
  }

  #markers() {
    return this.#database.collection<{ _id: string }>(markerCollection)
  }

  async #holds(): Promise<boolean> {
    const outside = await this.#markers().findOne({ _id: this.#after }, { readConcern: 'majority' })
    return outside !== null && (await this.#sees(this.#before)) && !(await this.#sees(this.#after))
  }

  /** It is asked as the dump is read, the second answer of a cursor included: what a server refuses of that is known before it begins. */
  async #sees(marker: string): Promise<boolean> {
    const answers = readRawBatches({
      database: this.#reading(),
      session: this.#session as ClientSession,
      collection: markerCollection,
      filter: { _id: marker },
      firstDocuments: 0,
      answerMs: this.#reader.answerMs,
    })
    return (await Array.fromAsync(answers)).length > 0
  }
}

/** Collections with options and indexes, in one text. */
function signature(collections: readonly CollectionInfo[]): string {
  return JSON.stringify(
    collections.map(({ name, type, options, indexes }) => [
      name,
      type,
      toExtendedJson(options),
      indexes.map((index) => toExtendedJson(index)),
    ]),
  )
}

/** The driver keeps the time of a snapshot session without declaring it. */
function timeOf(session: ClientSession & { snapshotTime?: Timestamp }): Timestamp | undefined {
  return session.snapshotTime ?? session.operationTime
}

function timestampText(timestamp: { t: number; i: number } | undefined): string {
  return timestamp === undefined ? '' : `${timestamp.t}:${timestamp.i}`
}
