import { audited, systemActor } from '../audit/audit.ts'
import { isAppError } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import { findAll } from '../store/store.ts'
import type { Certificate } from './collections.ts'
import type { CertificateParts } from './parts.ts'

/** Days before expiry at which somebody is told, once each. What is renewed by itself is not worth a word before the second. */
const notices = [30, 14, 3, 0]
const graveDays = 3

/** Writes down, once per notice, which certificates are about to expire or have. @returns how many */
export async function noteExpiring({ store, clock }: CertificateParts): Promise<number> {
  const now = clock.now()
  const horizon = new Date(now.getTime() + (notices[0] as number) * dayMs)
  const soon = {
    where: { status: 'active', not_after: { lte: horizon } },
    sort: { field: 'not_after', direction: 'asc' },
  } as const
  let noted = 0
  for await (const certificate of findAll<Certificate>(store, 'certificates', soon)) {
    const notice = noticeFor(certificate, now)
    if (notice === undefined) continue
    const next: Certificate = { ...certificate, expiry_notice: notice }
    const days = Math.max(0, Math.floor((certificate.not_after.getTime() - now.getTime()) / dayMs))
    const data = { name: certificate.name, project: certificate.project_id, days, not_after: certificate.not_after.toISOString() }
    await store
      .commit([
        { replace: 'certificates', document: next, expect: { serial: certificate.serial, status: certificate.status } },
        audited(systemActor, eventOf(notice), certificate._id, data),
      ])
      .then(() => noted++)
      .catch((error) => {
        if (!isAppError(error, 'conflict')) throw error
      })
  }
  return noted
}

/** The notice that is due, if it was not given. */
function noticeFor(certificate: Certificate, now: Date): number | undefined {
  const left = (certificate.not_after.getTime() - now.getTime()) / dayMs
  const reached = notices.filter((days) => left <= days).at(-1)
  if (reached === undefined || (certificate.expiry_notice ?? Number.POSITIVE_INFINITY) <= reached) return undefined
  const renewsItself = certificate.auto_renew && certificate.renewal_state === ''
  return renewsItself && reached === notices[0] ? undefined : reached
}

function eventOf(notice: number): string {
  if (notice === 0) return 'certificate.expired'
  return notice <= graveDays ? 'certificate.expiring-soon' : 'certificate.expiring'
}
