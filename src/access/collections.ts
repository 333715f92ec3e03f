import type { CollectionSpec, StoredDocument } from '../store/store.ts'
import type { Role } from './roles.ts'

export interface User extends StoredDocument {
  /** Lower case; unique. */
  email: string
  name: string
  role: Role
  password_hash: string
  /** Logs in only to a server that runs in the drill profile. */
  is_drill: boolean
  created_at: Date
}

/** A login. Tokens are kept as HMACs; the one before the present refresh token tells a replay. */
export interface Session extends StoredDocument {
  user_id: string
  access_hash: string
  access_expires_at: Date
  refresh_hash: string
  previous_refresh_hash: string
  csrf_token: string
  expires_at: Date
}

export interface ApiKey extends StoredDocument {
  name: string
  role: Role
  /** The only project it may see; any if missing or empty. */
  project_id?: string
  /** First characters, to recognise a key by. */
  prefix: string
  key_hash: string
  created_by: string
  created_at: Date
  revoked_at: Date | null
}

/** Login attempts without success of one account from one address; `_id` is a digest of both. */
export interface LoginThrottle extends StoredDocument {
  failures: number
  expires_at: Date
}

/** Exists once the first owner does; `_id` is `setup`. */
export interface SetupRecord extends StoredDocument {
  owner_id: string
  completed_at: Date
}

export const accessCollections: CollectionSpec[] = [
  {
    name: 'users',
    indexes: [
      { name: 'email', key: { email: 1 }, unique: true },
      { name: 'role', key: { role: 1 } },
    ],
  },
  {
    name: 'sessions',
    indexes: [
      { name: 'access', key: { access_hash: 1 }, unique: true },
      { name: 'refresh', key: { refresh_hash: 1 }, unique: true },
      { name: 'previous_refresh', key: { previous_refresh_hash: 1 } },
      { name: 'user', key: { user_id: 1 } },
      { name: 'expiry', key: { expires_at: 1 }, expireAfterSeconds: 0 },
    ],
  },
  { name: 'api_keys', indexes: [{ name: 'hash', key: { key_hash: 1 }, unique: true }] },
  { name: 'login_throttle', indexes: [{ name: 'expiry', key: { expires_at: 1 }, expireAfterSeconds: 0 }] },
  { name: 'setup', indexes: [] },
]
