import { createHmac, randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { base32 } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { Store } from '../store/store.ts'

export interface AccessParts {
  store: Store
  clock: Clock
  /** Keys the hashes of session tokens. */
  jwtSecret: Secret
  apiKeyPepper: Secret
  /** A server in the drill profile lets the drill user in, and nobody else's server does. */
  isDrill: boolean
}

/** A token of 256 random bits, in 52 characters. */
export function newToken(): string {
  return base32(randomBytes(32))
}

/** Tokens are random, so a keyed hash is enough; the key makes a copy of the database useless for guessing. */
export function tokenHash(key: Secret, token: string): string {
  return createHmac('sha256', key.bytes()).update(token).digest('hex')
}
