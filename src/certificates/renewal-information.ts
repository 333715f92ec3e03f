import { randomInt } from 'node:crypto'
import { isAppError } from '../core/app-error.ts'
import { hourMs, secondMs } from '../core/clock.ts'
import type { OrderingIssuer } from '../issuer/ordering-issuer.ts'
import type { Change } from '../store/store.ts'
import { openAccount } from './account-key.ts'
import { requireAccount } from './acme-accounts.ts'
import type { Certificate } from './collections.ts'
import { neverRenewed } from './describe.ts'
import type { CertificateParts } from './parts.ts'

const checkEveryMs = 6 * hourMs
const certificatesPerRun = 100

export interface SuggestedRenewal {
  /** Undefined where the CA does not say. */
  renewAt: Date | undefined
  checkAt: Date
}

/**
 * A random time in the window that the CA suggests (RFC 9773, 4.2), and when to ask again. A time that lies in the window stays. What the
 * CA does not answer is asked later.
 */
export async function suggestedRenewal(
  parts: CertificateParts,
  issuer: OrderingIssuer,
  pem: string,
  planned?: Date,
): Promise<SuggestedRenewal> {
  const now = parts.clock.now().getTime()
  const later = new Date(now + checkEveryMs)
  const { ariId } = await import('./csr.ts')
  const id = ariId(pem)
  if (id === undefined) return { renewAt: undefined, checkAt: neverRenewed }
  try {
    const window = await issuer.renewalWindow(id)
    if (window === undefined) return { renewAt: undefined, checkAt: neverRenewed }
    const seconds = Math.floor((window.end.getTime() - window.start.getTime()) / secondMs)
    const isInside = planned !== undefined && planned >= window.start && planned <= window.end
    const renewAt = isInside ? planned : new Date(window.start.getTime() + randomInt(Math.max(seconds, 1)) * secondMs)
    const checkAt = new Date(now + Math.max(window.retryAfterMs, 60 * secondMs))
    return { renewAt, checkAt }
  } catch {
    return { renewAt: undefined, checkAt: later }
  }
}

/** Asks the CAs of certificates whose window may have moved: after an incident it is suddenly now. @returns how many were moved */
export async function refreshRenewalTimes(parts: CertificateParts, signal: AbortSignal): Promise<number> {
  const { items } = await parts.store.find<Certificate>('certificates', {
    where: { ari_check_at: { lte: parts.clock.now() } },
    sort: { field: 'ari_check_at', direction: 'asc' },
    limit: certificatesPerRun,
  })
  let moved = 0
  for (const certificate of items) {
    const change = await refreshed(parts, certificate, signal)
    await parts.store.commit([change.change]).catch((error) => {
      if (!isAppError(error, 'conflict')) throw error
    })
    if (change.isMoved) moved++
  }
  return moved
}

async function refreshed(
  parts: CertificateParts,
  certificate: Certificate,
  signal: AbortSignal,
): Promise<{ change: Change; isMoved: boolean }> {
  const account = await requireAccount(parts.store, certificate.account_id)
  const issuer = await openAccount(parts, account, signal)
  const { certificate_pem: pem, next_renewal_at: planned, auto_renew } = certificate
  const { renewAt = planned, checkAt } = await suggestedRenewal(parts, issuer, pem, planned)
  const isMoved = auto_renew && renewAt < planned
  const next: Certificate = { ...certificate, ari_check_at: checkAt, next_renewal_at: isMoved ? renewAt : planned }
  return {
    change: {
      replace: 'certificates',
      document: next,
      expect: { serial: certificate.serial, status: certificate.status },
    } as Change,
    isMoved,
  }
}
