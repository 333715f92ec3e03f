import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import type { Change } from '../store/store.ts'
import type { Certificate } from './collections.ts'
import { requireCertificate } from './list-certificates.ts'
import type { CertificateParts, Request } from './parts.ts'

/**
 * Forgets a certificate and its keys. One that somebody may still use is not forgotten: it is revoked or expired first.
 * @throws AppError `not-found` · `conflict` it is in use, or a job has it
 */
export async function removeCertificate({ store, clock }: CertificateParts, request: Request, id: string): Promise<void> {
  const certificate = await requireCertificate(store, id)
  refuseInUse(certificate, clock.now())
  const jobs = await store.count('jobs', { subject: id, state: { in: ['queued', 'running'] } })
  if (jobs > 0) throw new AppError('conflict', `a job for "${certificate.name}" is under way`, { hint: 'wait until it has ended' })
  const order = await store.get('acme_orders', id)
  const keys = [certificate.key_id, certificate.previous_key_id].filter((key) => key !== '')
  const changes: Change[] = [
    { remove: 'certificates', id, expect: { serial: certificate.serial, status: certificate.status } },
    ...keys.map((key) => ({ remove: 'certificate_private_keys', id: key })),
    ...(order === undefined ? [] : [{ remove: 'acme_orders', id }]),
    audited(request.actor, 'certificate.removed', id, {
      name: certificate.name,
      project: certificate.project_id,
      serial: certificate.serial,
      fingerprint: certificate.fingerprint,
    }),
  ]
  await store.commit(changes).catch((error) => {
    if (!isAppError(error, 'conflict')) throw error
    throw new AppError('conflict', `"${certificate.name}" was changed meanwhile`, { hint: 'look at it again', cause: error })
  })
}

function refuseInUse(certificate: Certificate, now: Date): void {
  const isManaged = certificate.kind === 'managed' && certificate.key_id !== ''
  if (certificate.status !== 'active' || certificate.not_after <= now || !isManaged) return
  throw new AppError('conflict', `"${certificate.name}" is valid and its key is here`, {
    hint: 'revoke it first, or wait until it has expired',
  })
}
