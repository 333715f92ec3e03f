import type { CollectionSpec, StoredDocument } from '../store/store.ts'
import type { Envelope } from './envelope.ts'

/** The lock: which installation this database belongs to, and which provider holds its keys. Written once, `_id` is `install`. */
export interface KekInstall extends StoredDocument {
  installation_id: string
  provider: string
  created_at: Date
}

/** One document per KEK version that the database knows; `_id` is the version as text. */
export interface KekVersion extends StoredDocument {
  version: number
  provider: string
  fingerprint: string
  /** `active` is written with, `readable` is only read with. */
  state: 'active' | 'readable'
  /** Opens with this version alone, so that even an empty database can be checked against its keys. */
  canary: Envelope
  created_at: Date
}

export const kekCollections: CollectionSpec[] = [
  { name: 'kek_install', indexes: [] },
  { name: 'kek_versions', indexes: [], envelopes: ['canary'] },
]

/** The index that a collection with envelopes declares: finds a sample per KEK version. Documents repeat the version at the top. */
export const kekVersionIndex = { name: 'kek_version', key: { kek_version: 1 } } as const
