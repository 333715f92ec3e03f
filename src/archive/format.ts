/** The archive format of `mongodump --archive`, version 0.1. Source: mongo-tools, `common/archive`. All integers are little-endian. */

/** First four bytes of every archive. */
export const magic = 0x8199e26d
/** Ends the prelude and every block, where the length of a document would stand. */
export const terminator = 0xffffffff
export const formatVersion = '0.1'
/** CRC-64, ECMA-182 polynomial, reflected: over the concatenated documents of one namespace. Stands in the namespace's end marker. */
export const crcPolynomial = 'c96c5795d7870f42'
/** More collections than this in one prelude is taken for an attack on memory. */
export const maxCollections = 100_000

export interface Namespace {
  database: string
  collection: string
}

/** A collection as the prelude describes it. `options` is a raw BSON document, `indexes` are raw index specifications. */
export interface CollectionInfo {
  name: string
  type: 'collection' | 'view' | 'timeseries'
  options: Buffer
  indexes: Buffer[]
}

/** What stands before the documents: who wrote the archive, and which collections it holds. */
export interface Prelude {
  serverVersion: string
  toolVersion: string
  collections: { database: string; info: CollectionInfo }[]
}

/** Some whole documents of one namespace, concatenated as raw BSON. */
export interface DocumentBlock extends Namespace {
  documents: Buffer
}

/** A namespace is complete. `crc` is unsigned. */
export interface NamespaceEnd extends Namespace {
  count: number
  bytes: number
  crc: bigint
}

export function namespaceName(namespace: Namespace): string {
  return `${namespace.database}.${namespace.collection}`
}
