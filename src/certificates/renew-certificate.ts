import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import type { JobRun } from '../jobs/worker.ts'
import { findAll } from '../store/store.ts'
import { requireAuthority } from './authorities.ts'
import type { Certificate } from './collections.ts'
import { neverRenewed, renewalTime, renewalWorks, searchText } from './describe.ts'
import { publicKeyOf, signFor } from './issue-certificate.ts'
import { keyTypeName, newPrivateKey, sealedKey } from './keys.ts'
import { requireCertificate } from './list-certificates.ts'
import { orderCertificate } from './order-certificate.ts'
import type { CertificateParts, Request } from './parts.ts'

export const renewalJobKind = 'certificate.renew'

/** While a renewal is under way its certificate is not due; it is looked at again after this long, in case the job was lost. */
const lookAgainMs = dayMs

/** Queues a renewal, or returns the one that is already queued or running. @throws AppError `not-found` · `conflict` it cannot be renewed · `safe-mode` */
export async function requestRenewal(parts: CertificateParts, request: Request, certificateId: string): Promise<Job> {
  await parts.requireAllowed('renew a certificate')
  for (;;) {
    const certificate = await requireCertificate(parts.store, certificateId)
    refuseUnrenewable(certificate)
    const job = await queueRenewal(parts, request, certificate)
    if (job !== undefined) return job
  }
}

/** The certificates that the scheduler looks for. */
export function dueNow(now: Date) {
  return { where: { next_renewal_at: { lte: now } }, sort: { field: 'next_renewal_at', direction: 'asc' } } as const
}

/** Queues renewals of everything that is due. @returns how many */
export async function requestDueRenewals(parts: CertificateParts, request: Request): Promise<number> {
  let queued = 0
  for await (const certificate of findAll<Certificate>(parts.store, 'certificates', dueNow(parts.clock.now()))) {
    if (certificate.status === 'active' && (await queueRenewal(parts, request, certificate)) !== undefined) queued++
  }
  return queued
}

/**
 * Queues a job for a certificate as it was read. Of several requests for the same certificate, also by several processes, one makes a job.
 * @returns undefined when the certificate was changed meanwhile: renewed, most likely
 */
async function queueRenewal(parts: CertificateParts, request: Request, certificate: Certificate): Promise<Job | undefined> {
  const now = parts.clock.now()
  const before = await pendingRenewal(parts, certificate._id)
  const { job, change } = before === undefined ? queuedJob(renewalJobKind, certificate._id, request.actor, now) : { job: before }
  const next_renewal_at = certificate.next_renewal_at > now ? certificate.next_renewal_at : new Date(now.getTime() + lookAgainMs)
  const marked: Certificate = { ...certificate, renewal_job_id: job._id, next_renewal_at }
  const expect = { serial: certificate.serial, status: certificate.status, renewal_job_id: certificate.renewal_job_id ?? null }
  try {
    await parts.store.commit([
      { replace: 'certificates', document: marked, expect },
      ...(change === undefined
        ? []
        : [change, audited(request.actor, 'certificate.renewal-requested', certificate._id, { job: job._id })]),
    ])
    return job
  } catch (error) {
    if (!isAppError(error, 'conflict')) throw error
    return undefined
  }
}

async function pendingRenewal({ store }: CertificateParts, certificateId: string): Promise<Job | undefined> {
  const { items } = await store.find<Job>('jobs', { where: { subject: certificateId, state: { in: ['queued', 'running'] } } })
  return items.find((job) => job.kind === renewalJobKind)
}

/** Renews one certificate with a new key: the handler of `certificate.renew`. */
export async function renewCertificate(parts: CertificateParts, run: JobRun): Promise<void> {
  const { job, step } = run
  const certificate = await requireCertificate(parts.store, job.subject)
  if (certificate.status === 'revoked') return step('it was revoked meanwhile: nothing is left to do')
  refuseUnrenewable(certificate)
  if (isAnothers(certificate, job._id)) return step(`job ${certificate.renewal_job_id} renews it`)
  if (certificate.account_id && parts.substituteCaId === undefined) return orderCertificate(parts, run)
  const authority = await requireAuthority(parts, parts.substituteCaId ?? certificate.ca_id)
  await step(`making a new key (${certificate.key_type})`)
  const key = await newPrivateKey(keyTypeName(certificate.key_type))
  await step(`asking CA "${authority.name}" for "${certificate.name}"`)
  const names = certificate.sans.length > 0 ? certificate.sans : [certificate.name]
  const signed = await signFor(parts, authority, { publicKey: publicKeyOf(key), names, validityDays: certificate.validity_days })
  const sealed = sealedKey(parts, certificate._id, key)
  const { description } = signed
  const renewed: Certificate = {
    ...certificate,
    ...description,
    search: searchText(certificate.tags, description.search),
    ...renewalWorks,
    ca_id: authority._id,
    chain_pem: signed.chainPem,
    key_id: sealed.id,
    previous_key_id: certificate.key_id,
    next_renewal_at: certificate.auto_renew
      ? renewalTime(description.not_before, description.not_after, parts.renewBeforeDays)
      : neverRenewed,
  }
  await step(`saving serial ${description.serial}, valid until ${description.not_after.toISOString()}`)
  await run.finish([
    { replace: 'certificates', document: renewed, expect: { serial: certificate.serial, status: certificate.status } },
    sealed.change,
    ...(certificate.previous_key_id === '' ? [] : [{ remove: 'certificate_private_keys', id: certificate.previous_key_id }]),
    signed.record(certificate._id),
    ...((await parts.afterRenewal?.(certificate._id)) ?? []),
    audited(job.requested_by, 'certificate.renewed', certificate._id, {
      name: renewed.name,
      project: renewed.project_id,
      serial: renewed.serial,
      before: certificate.serial,
    }),
  ])
}

/** Of several jobs for one certificate the one that it names renews it. */
function isAnothers({ renewal_job_id = '' }: Certificate, jobId: string): boolean {
  return renewal_job_id !== '' && renewal_job_id !== jobId
}

function refuseUnrenewable(certificate: Certificate): void {
  if (certificate.kind === 'watched')
    throw new AppError('conflict', `"${certificate.name}" is only watched: whoever issued it renews it`)
  if (certificate.key_id === '')
    throw new AppError(
      'conflict',
      `"${certificate.name}" was made from a CSR: its key is not here, so issue it again from a new CSR`,
    )
  if (certificate.status === 'requested') throw new AppError('conflict', `"${certificate.name}" is still being issued`)
  if (certificate.status === 'revoked') throw new AppError('conflict', `"${certificate.name}" is revoked: issue a new certificate`)
}
