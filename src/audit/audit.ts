import { createHmac } from 'node:crypto'
import { canonicalJson } from '../core/canonical-json.ts'
import { newId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { Change, CollectionSpec, StoredDocument } from '../store/store.ts'

/** Who does something: a user, an API key, the operator on the host, or the program itself. */
export interface Actor {
  kind: 'user' | 'api-key' | 'host' | 'system'
  id: string
  name: string
}

export const systemActor: Actor = { kind: 'system', id: 'system', name: 'system' }
export const hostActor: Actor = { kind: 'host', id: 'host', name: 'host' }

/** One entry. `seq` is 0 until the scheduler links it into the chain. */
export interface AuditEntry extends StoredDocument {
  at: Date
  actor: Actor
  event: string
  subject: string
  data: Record<string, unknown>
  seq: number
  prev_hmac: string
  hmac: string
}

/** The end of the chain; `_id` is `head`. */
export interface AuditHead extends StoredDocument {
  seq: number
  hmac: string
}

export const auditCollections: CollectionSpec[] = [
  { name: 'audit_logs', indexes: [{ name: 'seq', key: { seq: 1, _id: 1 } }] },
  { name: 'audit_head', indexes: [] },
]

export const chainStart = '0'.repeat(64)

/** The entry of a change, to be committed in the same transaction as the change itself. `data` holds nothing secret. */
export function audited(actor: Actor, event: string, subject: string, data: Record<string, unknown> = {}): Change {
  const entry: AuditEntry = { _id: newId(), at: new Date(), actor, event, subject, data, seq: 0, prev_hmac: '', hmac: '' }
  return { insert: 'audit_logs', document: entry }
}

/** HMAC-SHA-256 over the link before and the canonical JSON of everything else in the entry. */
export function linkHmac(secret: Secret, entry: AuditEntry): string {
  const { hmac: _hmac, prev_hmac, ...rest } = entry
  return createHmac('sha256', secret.bytes()).update(prev_hmac).update(canonicalJson(rest)).digest('hex')
}
