import { audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import type { RevocationReason } from '../issuer/issuer.ts'
import type { Change } from '../store/store.ts'
import { requireAuthority } from './authorities.ts'
import type { Certificate, IssuedSerial } from './collections.ts'
import { neverRenewed } from './describe.ts'
import { requireCertificate } from './list-certificates.ts'
import type { CertificateParts, Request } from './parts.ts'

/** Revokes a certificate of an internal CA: it stands in the CRL from now on. @throws AppError `not-found` · `conflict` · `safe-mode` */
export async function revokeCertificate(
  parts: CertificateParts,
  request: Request,
  id: string,
  reason: RevocationReason,
): Promise<Certificate> {
  await parts.requireAllowed('revoke a certificate')
  const certificate = await requireCertificate(parts.store, id)
  if (certificate.kind === 'watched')
    throw new AppError('conflict', `"${certificate.name}" is only watched: only its issuer can revoke it`)
  if (certificate.status === 'revoked') throw new AppError('conflict', `"${certificate.name}" is revoked already`)
  const authority = await requireAuthority(parts, certificate.ca_id)
  const revoked: Certificate = { ...certificate, status: 'revoked', auto_renew: false, next_renewal_at: neverRenewed }
  await parts.store.commit([
    { replace: 'certificates', document: revoked, expect: { serial: certificate.serial } },
    await serialChange(parts, certificate, reason),
    {
      replace: 'certificate_authorities',
      document: { ...authority, crl_number: authority.crl_number + 1 },
      expect: { crl_number: authority.crl_number },
    } as Change,
    audited(request.actor, 'certificate.revoked', certificate._id, { name: certificate.name, serial: certificate.serial, reason }),
  ])
  return revoked
}

async function serialChange(parts: CertificateParts, certificate: Certificate, reason: RevocationReason): Promise<Change> {
  const id = `${certificate.ca_id}:${certificate.serial}`
  const before = await parts.store.get<IssuedSerial>('issued_serials', id)
  if (before === undefined) throw new AppError('not-found', `serial ${certificate.serial} was not issued by this CA`)
  const document: IssuedSerial = { ...before, revoked_at: parts.clock.now(), reason }
  return { replace: 'issued_serials', document }
}
