import { audited, systemActor } from '../audit/audit.ts'
import { isAppError } from '../core/app-error.ts'
import type { Job } from '../jobs/job.ts'
import type { Certificate } from './collections.ts'
import { neverRenewed } from './describe.ts'
import type { CertificateParts } from './parts.ts'
import { renewalJobKind } from './renew-certificate.ts'
import { issueJobKind } from './request-certificate.ts'

/**
 * Shows at a certificate that getting it does not work: `failing` while attempts go on, `stalled` when a person is
 * needed, who asks for the renewal again.
 */
export async function noteFailure(parts: CertificateParts, job: Job): Promise<void> {
  if (job.kind !== issueJobKind && job.kind !== renewalJobKind) return
  const certificate = await parts.store.get<Certificate>('certificates', job.subject)
  if (certificate === undefined) return
  const isStalled = job.state === 'dead'
  const next: Certificate = {
    ...certificate,
    renewal_state: isStalled ? 'stalled' : 'failing',
    renewal_error: job.error,
    next_renewal_at: isStalled ? neverRenewed : certificate.next_renewal_at,
  }
  const event = isStalled ? 'certificate.renewal-stalled' : 'certificate.renewal-failed'
  await parts.store
    .commit([
      { replace: 'certificates', document: next, expect: { serial: certificate.serial, status: certificate.status } },
      audited(systemActor, event, certificate._id, {
        name: certificate.name,
        project: certificate.project_id,
        job: job._id,
        error: job.error,
      }),
    ])
    .catch((error) => {
      if (!isAppError(error, 'conflict')) throw error
    })
}
