import { issueJobKind, orderCertificate } from './certificates/order-certificate.ts'
import type { CertificateParts } from './certificates/parts.ts'
import { renewalJobKind, renewCertificate } from './certificates/renew-certificate.ts'
import type { JobHandler } from './jobs/worker.ts'

/** Which function runs a job of which kind. */
export function jobHandlers(certificates: CertificateParts): Record<string, JobHandler> {
  return {
    [issueJobKind]: (run) => orderCertificate(certificates, run),
    [renewalJobKind]: (run) => renewCertificate(certificates, run),
  }
}
