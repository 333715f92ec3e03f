import { isAppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import type { Change, Store } from '../store/store.ts'
import { type AuditEntry, type AuditHead, chainStart, linkHmac } from './audit.ts'

/**
 * Links entries that wait for it to the end of the chain, oldest first. One process does this at a time; if two do, one loses the
 * compare-and-set on the head and nothing is linked twice.
 * @returns the head afterwards
 */
export async function linkAudit(store: Store, secret: Secret): Promise<AuditHead> {
  for (;;) {
    const head = await readAuditHead(store)
    const { items } = await store.find<AuditEntry>('audit_logs', { where: { seq: 0 }, limit: 200 })
    if (items.length === 0) return head
    const { changes, next } = linked(head, items, secret)
    try {
      await store.commit([...changes, headChange(head, next)])
    } catch (error) {
      if (isAppError(error, 'conflict') || isAppError(error, 'exists')) return readAuditHead(store)
      throw error
    }
  }
}

export async function readAuditHead(store: Store): Promise<AuditHead> {
  return (await store.get<AuditHead>('audit_head', 'head')) ?? { _id: 'head', seq: 0, hmac: chainStart }
}

function linked(head: AuditHead, entries: AuditEntry[], secret: Secret): { changes: Change[]; next: AuditHead } {
  let next = head
  const changes = entries.map((entry): Change => {
    const document = { ...entry, seq: next.seq + 1, prev_hmac: next.hmac }
    document.hmac = linkHmac(secret, document)
    next = { _id: 'head', seq: document.seq, hmac: document.hmac }
    return { replace: 'audit_logs', document, expect: { seq: 0 } }
  })
  return { changes, next }
}

function headChange(head: AuditHead, next: AuditHead): Change {
  return head.seq === 0
    ? { insert: 'audit_head', document: next }
    : { replace: 'audit_head', document: next, expect: { seq: head.seq } }
}
