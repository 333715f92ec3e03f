import type { CollectionInfo } from '../archive/format.ts'

/** A document of ours. The store keeps any BSON; what we write ourselves has a text id. */
export interface StoredDocument {
  _id: string
}

export type FieldValue = string | number | boolean | Date | null

export interface Range {
  gt?: FieldValue
  gte?: FieldValue
  lt?: FieldValue
  lte?: FieldValue
}

/** A value to equal, a range, a list of values of which one equals, or texts that a text field contains, all of them. */
export type Condition = FieldValue | Range | { in: readonly FieldValue[] } | { contains: readonly string[] }

/** All conditions hold. Every field is part of a declared index. */
export type Where = Readonly<Record<string, Condition>>

export interface Query {
  where?: Where
  sort?: { field: string; direction: 'asc' | 'desc' }
  /** At most this many documents, 50 if not given. */
  limit?: number
  /** The `nextCursor` of the page before. */
  after?: string | undefined
}

export interface Page<T> {
  items: T[]
  nextCursor: string | undefined
}

/** Equality of fields that the stored document must show, or the change does not happen. */
export type Expectation = Readonly<Record<string, FieldValue>>

export type Change =
  | { insert: string; document: StoredDocument }
  | { replace: string; document: StoredDocument; expect?: Expectation }
  | { remove: string; id: string; expect?: Expectation }

export interface IndexSpec {
  name: string
  key: Readonly<Record<string, 1 | -1>>
  unique?: boolean
  /** Documents go when the date in the (single) field is this many seconds old. */
  expireAfterSeconds?: number
}

/** A collection and its indexes, declared once by the noun that owns it. */
export interface CollectionSpec {
  name: string
  indexes: readonly IndexSpec[]
  /** Fields that hold an envelope in every document; what backup and verification open. */
  envelopes?: readonly string[]
}

/** The document store. Every method may be called concurrently; what has resolved is durable. */
export interface Store {
  readonly engine: 'embedded' | 'mongodb'
  readonly databaseName: string
  /** Creates declared collections and indexes that are missing. Called by each process at start, also by several at once. */
  prepare(collections: readonly CollectionSpec[]): Promise<void>
  get<T extends StoredDocument>(collection: string, id: string): Promise<T | undefined>
  /** One page in a total order: by the sort field, then by id. @throws AppError `usage` a field without index, a foreign cursor */
  find<T extends StoredDocument>(collection: string, query?: Query): Promise<Page<T>>
  count(collection: string, where?: Where): Promise<number>
  /**
   * Makes all changes in one transaction, or none.
   * @throws AppError `exists` an id or a unique value is taken · `conflict` a document is gone or not as expected
   */
  commit(changes: readonly Change[]): Promise<void>
  /** Sets fields on the first document that matches, atomically: of many callers each gets a different document, or none. */
  claim<T extends StoredDocument>(
    collection: string,
    query: { where: Where; sort: { field: string; direction: 'asc' | 'desc' } },
    set: Readonly<Record<string, unknown>>,
  ): Promise<T | undefined>
  /** Removes what TTL indexes declare as expired, where the engine does not do it by itself. */
  removeExpired(now: Date): Promise<void>
  /** A view of the whole database as of now, unmoved by later writes. @throws AppError `preflight` none can be had */
  snapshot(options?: SnapshotOptions): Promise<Snapshot>
  /** @throws AppError `unreachable` */
  ping(): Promise<void>
  close(): Promise<void>
}

export interface SnapshotOptions {
  /** Nobody writes while it is open: what stands there is the point in time. */
  isQuiesced?: boolean
}

/** The database at one point in time. It may be disposed twice. */
export interface Snapshot extends AsyncDisposable {
  /** What was acknowledged before this is in it. */
  readonly takenAt: Date
  readonly serverVersion: string
  /** How it is held: `read transaction`, `snapshot session`, `transaction` or `quiesced`. */
  readonly way: string
  /** Logical time of the server, `seconds:increment`; empty where there is none. */
  readonly clusterTime: string
  /** For how long the server holds it; undefined without an end. */
  readonly windowMs: number | undefined
  /** About how much there is to read; undefined where that does not matter, or is not known. */
  dataBytes(): Promise<number | undefined>
  /** Whether several collections may be read at once. */
  readonly isConcurrent: boolean
  readonly collections: readonly CollectionInfo[]
  /** All documents of a collection as concatenated raw BSON, in blocks of about a megabyte. */
  read(collection: string): AsyncIterable<Buffer>
  /**
   * Proves that reads still see the point in time: a marker written after it must not be seen by them, but by others.
   * @throws AppError `preflight`
   */
  prove(): Promise<void>
}

/** Finds every document, page by page. */
export async function* findAll<T extends StoredDocument>(store: Store, collection: string, query: Query = {}): AsyncGenerator<T> {
  let after: string | undefined
  do {
    const page: Page<T> = await store.find<T>(collection, { limit: 500, ...query, after })
    yield* page.items
    after = page.nextCursor
  } while (after !== undefined)
}
