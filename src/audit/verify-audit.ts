import { AppError } from '../core/app-error.ts'
import { equalsInConstantTime, type Secret } from '../core/secret.ts'
import { findAll, type Store } from '../store/store.ts'
import { type AuditEntry, chainStart, linkHmac } from './audit.ts'
import { readAuditHead } from './link-audit.ts'

export interface AuditVerification {
  checked: number
  /** Entries of the last second or so, which the scheduler has not linked yet. */
  unlinked: number
  headHmac: string
}

/**
 * Recomputes the whole chain.
 * @throws AppError `verification-failed` naming the first broken link · `nothing-verified` there is no entry
 */
export async function verifyAudit(store: Store, secret: Secret): Promise<AuditVerification> {
  const head = await readAuditHead(store)
  const unlinked = await store.count('audit_logs', { seq: 0 })
  const sort = { field: 'seq', direction: 'asc' } as const
  let seq = 0
  let hmac = chainStart
  for await (const entry of findAll<AuditEntry>(store, 'audit_logs', { where: { seq: { gt: 0, lte: head.seq } }, sort })) {
    if (entry.seq !== seq + 1) throw broken(seq + 1, `entry ${entry.seq} follows ${seq}`)
    if (entry.prev_hmac !== hmac) throw broken(entry.seq, `entry "${entry._id}" does not continue the one before`)
    if (!equalsInConstantTime(linkHmac(secret, entry), entry.hmac))
      throw broken(entry.seq, `entry "${entry._id}" was changed, or the audit secret is another`)
    seq = entry.seq
    hmac = entry.hmac
  }
  if (head.seq !== seq || head.hmac !== hmac)
    throw broken(seq, `the chain ends at ${seq}, but its head is ${head.seq}: entries at the end were removed`)
  if (seq === 0)
    throw new AppError('nothing-verified', 'the audit log has no linked entry', {
      hint: `${unlinked} wait for the running service to link them`,
    })
  return { checked: seq, unlinked, headHmac: hmac }
}

function broken(seq: number, message: string): AppError {
  return new AppError('verification-failed', `audit chain broken at ${seq}: ${message}`, {
    hint: 'compare with the audit log of the last verified backup; its manifest names the head of the chain',
  })
}
