import { X509Certificate } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { secondMs } from '../core/clock.ts'
import type { RevocationReason } from '../issuer/issuer.ts'
import type { Change } from '../store/store.ts'
import { openAccount } from './account-key.ts'
import { requireAccount } from './acme-accounts.ts'
import { requireAuthority } from './authorities.ts'
import type { Certificate, IssuedSerial } from './collections.ts'
import { neverRenewed } from './describe.ts'
import { requireCertificate } from './list-certificates.ts'
import type { CertificateParts, Request } from './parts.ts'

/**
 * Revokes a certificate: one of an internal CA stands in the CRL from now on, one of an ACME CA is revoked there.
 * @throws AppError `not-found` · `conflict` · `safe-mode` · `refused-by-ca` · `unreachable`
 */
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
  if (certificate.status === 'requested') throw new AppError('conflict', `"${certificate.name}" is still being issued`)
  const revoked: Certificate = { ...certificate, status: 'revoked', auto_renew: false, next_renewal_at: neverRenewed }
  if (certificate.account_id) {
    await revokeAtCa(parts, certificate, reason)
    await parts.store.commit([
      {
        replace: 'certificates',
        document: { ...revoked, ari_check_at: neverRenewed } as Certificate,
        expect: { serial: certificate.serial, status: certificate.status },
      },
      audited(request.actor, 'certificate.revoked', certificate._id, {
        name: certificate.name,
        serial: certificate.serial,
        reason,
      }),
    ])
    return revoked
  }
  const authority = await requireAuthority(parts, certificate.ca_id)
  await parts.store.commit([
    { replace: 'certificates', document: revoked, expect: { serial: certificate.serial, status: certificate.status } },
    await serialChange(parts, certificate, reason),
    {
      replace: 'certificate_authorities',
      document: { ...authority, crl_number: authority.crl_number + 1 },
      expect: { crl_number: authority.crl_number },
    } as Change,
    audited(request.actor, 'certificate.revoked', certificate._id, revocationData(certificate, reason)),
  ])
  return revoked
}

async function revokeAtCa(parts: CertificateParts, certificate: Certificate, reason: RevocationReason): Promise<void> {
  const account = await requireAccount(parts.store, certificate.account_id)
  const issuer = await openAccount(parts, account, AbortSignal.timeout(60 * secondMs))
  await issuer.revoke(new X509Certificate(certificate.certificate_pem).raw, reason).catch((error) => {
    if (!isAppError(error, 'refused-by-ca') || error.details?.kind !== 'alreadyRevoked') throw error
  })
}

async function serialChange(parts: CertificateParts, certificate: Certificate, reason: RevocationReason): Promise<Change> {
  const id = `${certificate.ca_id}:${certificate.serial}`
  const before = await parts.store.get<IssuedSerial>('issued_serials', id)
  if (before === undefined) throw new AppError('not-found', `serial ${certificate.serial} was not issued by this CA`)
  const document: IssuedSerial = { ...before, revoked_at: parts.clock.now(), reason }
  return { replace: 'issued_serials', document }
}

function revocationData({ name, project_id: project, serial }: Certificate, reason: RevocationReason): Record<string, unknown> {
  return { name, project, serial, reason }
}
