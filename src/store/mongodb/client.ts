import { type Db, MongoClient, MongoServerError } from 'mongodb'
import { AppError, messageOf } from '../../core/app-error.ts'

/** Internal document: what the exchange needs to go on after a crash. Never dumped. */
export const exchangeCollection = 'certautopilot_exchange'
/** Holds the marker that proves a snapshot. Never dumped. */
export const markerCollection = 'certautopilot_marker'

/**
 * Connects, and refuses a standalone server: changes of several documents are transactions, which it does not have.
 * @throws AppError `config` the URI · `unreachable` · `preflight` a standalone
 */
export async function connect(uri: string): Promise<MongoClient> {
  const client = newClient(uri)
  try {
    await client.connect()
    const hello = await client.db('admin').command({ hello: 1 })
    if (hello.setName === undefined && hello.msg !== 'isdbgrid') throw standalone()
    return client
  } catch (error) {
    await client.close()
    throw translated(error)
  }
}

/** Of collections, not of views. */
export async function collectionNames(database: Db): Promise<string[]> {
  const infos = await database.listCollections({ type: 'collection' }, { nameOnly: true }).toArray()
  return infos.map(({ name }) => name)
}

function newClient(uri: string): MongoClient {
  try {
    return new MongoClient(uri, {
      writeConcern: { w: 'majority', journal: true },
      promoteBuffers: true,
      ignoreUndefined: true,
      serverSelectionTimeoutMS: 5_000,
      maxPoolSize: 20,
    })
  } catch (error) {
    throw new AppError('config', 'CERTAUTOPILOT_DATABASE_URI is not a MongoDB URI', {
      hint: 'it looks like mongodb://user:password@host:27017/certautopilot, with user and password percent-encoded',
      cause: withoutCredentials(error),
    })
  }
}

function standalone(): AppError {
  return new AppError('preflight', 'the MongoDB server is a standalone, which has no transactions', {
    hint: 'make it a replica set of one: start it with "mongod --replSet rs0 ...", then run once: mongosh --eval "rs.initiate()"',
  })
}

/** SnapshotTooOld, SnapshotUnavailable, NoSuchTransaction, TransactionExceededLifetimeLimitSeconds */
const outlivedCodes = new Set([239, 246, 251, 290])
/** PrimarySteppedDown, InterruptedDueToReplStateChange, NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, ShutdownInProgress */
const steppedDownCodes = new Set([189, 11602, 10107, 13435, 13436, 91, 11600])

/** Says of a driver's error what it means to us; the driver's own text stays as the cause. */
export function translated(error: unknown): AppError {
  if (error instanceof AppError) return error
  if (error instanceof MongoServerError && error.code === 11000) {
    return new AppError('exists', 'a document takes a value that exists', { cause: error })
  }
  if (error instanceof MongoServerError && error.code === 112) {
    return new AppError('conflict', 'a document was changed meanwhile', { cause: error })
  }
  if (error instanceof MongoServerError && (error.code === 18 || error.code === 13)) {
    return new AppError('unreachable', `MongoDB refused the user: ${error.codeName ?? error.code}`, {
      hint: 'check user, password and authSource in CERTAUTOPILOT_DATABASE_URI',
      cause: error,
    })
  }
  if (error instanceof MongoServerError && outlivedCodes.has(Number(error.code))) {
    return new AppError('preflight', `MongoDB held the snapshot no longer: ${error.codeName ?? error.code}`, {
      hint: 'raise transactionLifetimeLimitSeconds or minSnapshotHistoryWindowInSeconds on the server, or set backup.consistency: quiesced',
      cause: error,
    })
  }
  if (error instanceof MongoServerError && steppedDownCodes.has(Number(error.code))) {
    return new AppError('unreachable', `the MongoDB server is no primary any more: ${error.codeName ?? error.code}`, {
      hint: 'run it again: by then another member has taken over',
      cause: error,
    })
  }
  const name = error instanceof Error ? error.name : ''
  if (
    /socket has been ended|ECONNREFUSED|ECONNRESET|EPIPE/.test(messageOf(error)) ||
    /^Mongo(Network|ServerSelection|Topology|PoolCleared|NotConnected)/.test(name)
  ) {
    return new AppError('unreachable', 'MongoDB cannot be reached', {
      hint: 'check host and port in CERTAUTOPILOT_DATABASE_URI',
      cause: error,
    })
  }
  return new AppError('failed', `MongoDB: ${messageOf(error)}`, { cause: error })
}

function withoutCredentials(error: unknown): Error {
  return new Error(messageOf(error).replaceAll(/\/\/[^@\s]*@/g, '//[secret]@'))
}
