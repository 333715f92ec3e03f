import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Change } from '../store/store.ts'
import { openIssuer, requireAuthority } from './authorities.ts'
import type { Certificate, CertificateAuthority, IssuedSerial } from './collections.ts'
import { type Description, describeCertificate, neverRenewed, notFromAcme, renewalTime, renewalWorks } from './describe.ts'
import { type KeyTypeName, newPrivateKey, sealedKey } from './keys.ts'
import type { CertificateParts, Request } from './parts.ts'
import { requireProject } from './projects.ts'

export interface IssueInput {
  project: string
  ca?: string | undefined
  /** The first one is the common name. From the CSR when there is one and this is empty. */
  names: readonly string[]
  csrPem?: string | undefined
  keyType?: KeyTypeName | undefined
  validityDays?: number | undefined
  autoRenew?: boolean | undefined
}

const maxNames = 100
const defaultValidityDays = 90

/**
 * Issues a certificate from an internal CA, for a CSR or for a key that is made and sealed here.
 * @throws AppError `not-found` project or CA · `usage` names or CSR · `safe-mode`
 */
export async function issueCertificate(parts: CertificateParts, request: Request, input: IssueInput): Promise<Certificate> {
  await parts.requireAllowed('issue a certificate')
  const project = await requireProject(parts.store, input.project)
  const authority = await requireAuthority(parts, input.ca)
  const csr = input.csrPem === undefined ? undefined : await readRequest(input.csrPem)
  const names = checkedNames(input.names.length > 0 ? input.names : (csr?.names ?? []))
  const key = csr === undefined ? await newPrivateKey(input.keyType ?? 'ec-p256') : undefined
  const publicKey = csr?.publicKey ?? publicKeyOf(key as KeyObject)

  const validityDays = input.validityDays ?? defaultValidityDays
  const signed = await signFor(parts, authority, { publicKey, names, validityDays })
  const id = newId(parts.clock.now().getTime())
  const sealed = key === undefined ? undefined : sealedKey(parts, id, key)
  const autoRenew = sealed !== undefined && (input.autoRenew ?? true)
  const { description } = signed
  const certificate: Certificate = {
    _id: id,
    project_id: project._id,
    kind: 'managed',
    status: 'active',
    ca_id: authority._id,
    ...notFromAcme,
    ...renewalWorks,
    ...description,
    chain_pem: signed.chainPem,
    key_id: sealed?.id ?? '',
    previous_key_id: '',
    auto_renew: autoRenew,
    next_renewal_at: autoRenew ? renewalTime(description.not_before, description.not_after, parts.renewBeforeDays) : neverRenewed,
    validity_days: validityDays,
    created_at: parts.clock.now(),
  }
  await parts.store.commit([
    { insert: 'certificates', document: certificate },
    ...(sealed === undefined ? [] : [sealed.change]),
    signed.record(id),
    audited(request.actor, 'certificate.issued', id, {
      name: certificate.name,
      project: project._id,
      serial: certificate.serial,
    }),
  ])
  return certificate
}

/** Loaded when the first CSR comes: a start does not need the library. */
async function readRequest(pem: string) {
  const { readCsr } = await import('./csr.ts')
  return readCsr(pem)
}

export interface Signed {
  description: Description
  chainPem: string
  /** The change that remembers the serial for the CRL. */
  record(certificateId: string): Change
}

/** Has a CA sign a public key, starting an hour ago so that slow clocks accept it. */
export async function signFor(
  parts: CertificateParts,
  authority: CertificateAuthority,
  wanted: { publicKey: Buffer; names: readonly string[]; validityDays: number },
): Promise<Signed> {
  const { issuer, caId } = await openIssuer(parts, authority)
  const now = parts.clock.now().getTime()
  const issued = await issuer.issue({
    publicKey: wanted.publicKey,
    commonName: wanted.names[0] as string,
    sans: wanted.names,
    notBefore: new Date(now - 3_600_000),
    notAfter: new Date(now + wanted.validityDays * dayMs),
  })
  const description = describeCertificate(new X509Certificate(issued.certificatePem))
  const record = (certificateId: string): Change => {
    const document: IssuedSerial = {
      _id: `${caId}:${issued.serial}`,
      ca_id: caId,
      serial: issued.serial,
      certificate_id: certificateId,
      not_after: description.not_after,
      revoked_at: null,
      reason: 'unspecified',
    }
    return { insert: 'issued_serials', document }
  }
  return { description: { ...description, serial: issued.serial }, chainPem: issued.chainPem, record }
}

export function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: 'der', type: 'spki' })
}

/** @throws AppError `usage` naming the name */
export function checkedNames(names: readonly string[]): string[] {
  const unique = [...new Set(names.map((name) => name.trim().toLowerCase()))]
  if (unique.length === 0) throw new AppError('usage', 'a certificate needs at least one name')
  if (unique.length > maxNames)
    throw new AppError('usage', `${unique.length} names are too many for one certificate, at most ${maxNames} are allowed`)
  const bad = unique.find((name) => isIP(name) === 0 && !isDnsName(name))
  if (bad !== undefined) throw new AppError('usage', `"${bad}" is neither a DNS name nor an IP address`)
  return unique
}

function isDnsName(name: string): boolean {
  const labels = name.replace(/^\*\./, '').split('.')
  return name.length <= 253 && labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))
}
