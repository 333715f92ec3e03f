import { createPrivateKey } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import type { Issuer } from '../issuer/issuer.ts'
import type { EnvelopePlace } from '../kek/envelope.ts'
import { findAll } from '../store/store.ts'
import type { CertificateAuthority, IssuedSerial } from './collections.ts'
import type { CertificateParts, Request } from './parts.ts'

/** Makes an internal CA: root and intermediate, keys sealed. @throws AppError `exists` · `usage` */
export async function createAuthority(parts: CertificateParts, request: Request, name: string): Promise<CertificateAuthority> {
  if (!/^[\w .-]{1,64}$/.test(name))
    throw new AppError('usage', `"${name}" is no name for a CA: use letters, digits, spaces, dots and dashes`)
  const now = parts.clock.now()
  const { root, intermediate } = await parts.issuers.createCa(name, now)
  const id = newId(now.getTime())
  const seal = (field: string, pair: typeof root) =>
    parts.kek.seal(place(id, field), pair.key.export({ format: 'der', type: 'pkcs8' }))
  const authority: CertificateAuthority = {
    _id: id,
    name,
    root_pem: root.certificatePem,
    intermediate_pem: intermediate.certificatePem,
    encrypted_root_key: seal('encrypted_root_key', root),
    encrypted_intermediate_key: seal('encrypted_intermediate_key', intermediate),
    kek_version: parts.kek.activeVersion,
    crl_number: 1,
    created_at: now,
  }
  try {
    await parts.store.commit([
      { insert: 'certificate_authorities', document: authority },
      audited(request.actor, 'ca.created', id, { name }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists')) throw new AppError('exists', `there is a CA "${name}" already`, { cause: error })
    throw error
  }
  return authority
}

/** The CA with this id or name; without either, the only one. @throws AppError `not-found` · `usage` there are several */
export async function requireAuthority(parts: CertificateParts, idOrName: string | undefined): Promise<CertificateAuthority> {
  const { store } = parts
  if (idOrName !== undefined) {
    const byId = await store.get<CertificateAuthority>('certificate_authorities', idOrName)
    const found =
      byId ?? (await store.find<CertificateAuthority>('certificate_authorities', { where: { name: idOrName } })).items[0]
    if (found === undefined)
      throw new AppError('not-found', `there is no CA "${idOrName}"`, { hint: '"certautopilot ca list" shows them' })
    return found
  }
  const { items } = await store.find<CertificateAuthority>('certificate_authorities', { limit: 2 })
  if (items[0] === undefined) throw new AppError('not-found', 'there is no CA yet', { hint: 'run "certautopilot ca create NAME"' })
  if (items.length > 1) throw new AppError('usage', 'there are several CAs: say which one signs')
  return items[0]
}

/** The issuer that signs for a CA, or for its substitute in a drill. */
export async function openIssuer(
  parts: CertificateParts,
  authority: CertificateAuthority,
): Promise<{ issuer: Issuer; caId: string }> {
  const signing = parts.substituteCaId === undefined ? authority : await requireAuthority(parts, parts.substituteCaId)
  const der = parts.kek.open(place(signing._id, 'encrypted_intermediate_key'), signing.encrypted_intermediate_key)
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const issuer = parts.issuers.open({ certificatePem: signing.intermediate_pem, key }, `${parts.publicUrl}/crl/${signing._id}.crl`)
  return { issuer, caId: signing._id }
}

/** The revocation list of a CA as of now, DER. @throws AppError `not-found` */
export async function currentCrl(parts: CertificateParts, caId: string): Promise<Buffer> {
  const authority = await requireAuthority(parts, caId)
  const { issuer } = await openIssuer({ ...parts, substituteCaId: undefined }, authority)
  const now = parts.clock.now()
  const revoked = await Array.fromAsync(
    findAll<IssuedSerial>(parts.store, 'issued_serials', { where: { ca_id: authority._id, revoked_at: { gt: new Date(0) } } }),
  )
  const valid = revoked.filter((issued) => issued.not_after > now)
  return issuer.crl(
    valid.map(({ serial, revoked_at, reason }) => ({ serial, revokedAt: revoked_at as Date, reason })),
    authority.crl_number,
    now,
  )
}

function place(recordId: string, field: string): EnvelopePlace {
  return { collection: 'certificate_authorities', recordId, field }
}
