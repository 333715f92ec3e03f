import * as nodeCrypto from 'node:crypto'
import { createHash, createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { Change } from '../store/store.ts'
import type { Certificate } from './collections.ts'
import { describeCertificate, neverRenewed, notFromAcme, parseCertificates, pemBlocks, renewalWorks } from './describe.ts'
import { sealedKey } from './keys.ts'
import type { CertificateParts, Request } from './parts.ts'
import { requireProject } from './projects.ts'

/** A certificate to import: with its chain and, where the file holds it, its key. */
export interface Import {
  leaf: X509Certificate
  chain: X509Certificate[]
  key?: KeyObject | undefined
}

export interface ImportReport {
  imported: number
  /** Already there, in the same project. */
  known: number
  certificates: { id: string; name: string }[]
}

const batchSize = 200

/** In Node since 26.10; the type declarations lag behind. */
const { parsePKCS12 } = nodeCrypto as unknown as {
  parsePKCS12(
    bytes: Buffer,
    options: { passphrase?: string },
  ): { privateKey: KeyObject | null; certificate: X509Certificate | null; additionalCertificates: X509Certificate[] }
}

/**
 * Reads PEM: a key with its certificate and chain, a chain, or a collection of certificates.
 * @throws AppError `usage` naming `source` and what is wrong
 */
export function readPem(pem: string, source: string): Import[] {
  const certificates = attempt(source, () => parseCertificates(pem))
  if (certificates.length === 0) {
    throw new AppError('usage', `"${source}" holds no PEM certificate`, {
      hint: 'it starts with -----BEGIN CERTIFICATE-----; for PKCS#12 give a .p12 or .pfx file',
    })
  }
  const [keyPem] = pemBlocks(pem, /^([A-Z]+ )?PRIVATE KEY$/)
  if (keyPem !== undefined)
    return [
      withKey(
        source,
        certificates,
        attempt(source, () => createPrivateKey(keyPem)),
      ),
    ]
  return isChain(certificates)
    ? [{ leaf: certificates[0] as X509Certificate, chain: certificates.slice(1) }]
    : certificates.map((leaf) => ({ leaf, chain: [] }))
}

/** Reads PKCS#12 (RFC 7292). @throws AppError `usage` not PKCS#12, or the wrong passphrase */
export function readPkcs12(bytes: Buffer, passphrase: Secret | undefined, source: string): Import[] {
  const bundle = attempt(source, () => parsePKCS12(bytes, passphrase === undefined ? {} : { passphrase: passphrase.reveal() }))
  const chain = bundle.additionalCertificates
  if (bundle.certificate === null) {
    if (chain.length === 0) throw new AppError('usage', `"${source}" holds no certificate`)
    return chain.map((leaf) => ({ leaf, chain: [] }))
  }
  return [{ leaf: bundle.certificate, chain, key: bundle.privateKey ?? undefined }]
}

/** Stores certificates as watched ones, keys sealed. What the project already has is counted and left as it is. */
export async function importCertificates(
  parts: CertificateParts,
  request: Request,
  input: { project: string; imports: readonly Import[] },
): Promise<ImportReport> {
  const project = await requireProject(parts.store, input.project)
  const report: ImportReport = { imported: 0, known: 0, certificates: [] }
  const fresh = await withoutKnown(parts, project._id, input.imports, report)
  for (let start = 0; start < fresh.length; start += batchSize) {
    const prepared = fresh.slice(start, start + batchSize).map((item) => watched(parts, project._id, item))
    await parts.store.commit([
      ...prepared.flatMap(({ changes }) => changes),
      audited(request.actor, 'certificates.imported', project._id, { count: prepared.length }),
    ])
    report.imported += prepared.length
    report.certificates.push(...prepared.map(({ certificate }) => ({ id: certificate._id, name: certificate.name })))
  }
  return report
}

async function withoutKnown(
  parts: CertificateParts,
  projectId: string,
  imports: readonly Import[],
  report: ImportReport,
): Promise<Import[]> {
  const unique = new Map(imports.map((item) => [fingerprintOf(item.leaf), item]))
  report.known += imports.length - unique.size
  const fresh: Import[] = []
  for (const [fingerprint, item] of unique) {
    if ((await parts.store.count('certificates', { project_id: projectId, fingerprint })) > 0) report.known++
    else fresh.push(item)
  }
  return fresh
}

function watched(
  parts: CertificateParts,
  projectId: string,
  { leaf, chain, key }: Import,
): { certificate: Certificate; changes: Change[] } {
  const id = newId(parts.clock.now().getTime())
  const sealed = key === undefined ? undefined : sealedKey(parts, id, key)
  const certificate: Certificate = {
    _id: id,
    project_id: projectId,
    kind: 'watched',
    status: 'active',
    ca_id: '',
    ...notFromAcme,
    ...renewalWorks,
    ...describeCertificate(leaf),
    chain_pem: chain.map((issuer) => issuer.toString()).join(''),
    key_id: sealed?.id ?? '',
    previous_key_id: '',
    auto_renew: false,
    next_renewal_at: neverRenewed,
    validity_days: 0,
    created_at: parts.clock.now(),
  }
  const insert: Change = { insert: 'certificates', document: certificate }
  return { certificate, changes: sealed === undefined ? [insert] : [insert, sealed.change] }
}

function withKey(source: string, certificates: X509Certificate[], key: KeyObject): Import {
  const leaf = certificates.find((certificate) => certificate.checkPrivateKey(key))
  if (leaf === undefined) throw new AppError('usage', `"${source}": the private key belongs to none of its certificates`)
  return { leaf, chain: certificates.filter((certificate) => certificate !== leaf), key }
}

/** Each certificate is issued by the next, and the first is no CA. */
function isChain(certificates: X509Certificate[]): boolean {
  return (
    certificates.length > 1 &&
    !certificates[0]?.ca &&
    certificates.every(
      (certificate, index) =>
        certificates[index + 1] === undefined || certificate.checkIssued(certificates[index + 1] as X509Certificate),
    )
  )
}

function fingerprintOf(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('hex')
}

function attempt<T>(source: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (isAppError(error)) throw error
    throw new AppError('usage', `"${source}" cannot be read: ${messageOf(error)}`, {
      hint: 'check that the file is complete, and the passphrase if it has one',
      cause: error,
    })
  }
}
