import { z } from 'zod'
import { type Caller, requireRole, requireVisible } from '../access/roles.ts'
import { audited } from '../audit/audit.ts'
import type { Certificate, PrivateKey } from '../certificates/collections.ts'
import { describeCertificate, notFromAcme, parseCertificates, renewalWorks } from '../certificates/describe.ts'
import { openPrivateKey } from '../certificates/keys.ts'
import { certificateState, requireCertificate } from '../certificates/list-certificates.ts'
import { removeCertificate } from '../certificates/remove-certificate.ts'
import { requestRenewal } from '../certificates/renew-certificate.ts'
import { revokeCertificate } from '../certificates/revoke-certificate.ts'
import { tagCertificate } from '../certificates/tag-certificate.ts'
import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'
import { deploymentsOf } from '../deploy/targets.ts'
import { type RevocationReason, revocationReasons } from '../issuer/issuer.ts'
import type { HttpParts } from './parts.ts'
import { Download, idParams, type Route, type RouteContext, route, timestamp } from './route.ts'
import { certificateReply, jobReply } from './schemas.ts'

const tag = 'certificates'
const tags = z.array(z.string().max(32)).max(20).default([])

/** What is done with one certificate. */
export const certificateRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/certificates/{id}',
    summary: 'show a certificate',
    tag,
    role: 'viewer',
    isForProjects: true,
    params: idParams,
    reply: certificateReply.extend({
      certificate_pem: z.string(),
      chain_pem: z.string(),
      /** Of the envelope of its key; null where the key is not here. */
      key_kek_version: z.number().nullable(),
      key_sealed_at: timestamp.nullable(),
      chain: z.array(z.object({ name: z.string(), issuer: z.string(), not_before: timestamp, not_after: timestamp })),
    }),
    async handle({ parts, caller, params }) {
      const certificate = await visible(parts, caller, params.id)
      const chain = parseCertificates(certificate.chain_pem).map(describeCertificate)
      const key = await parts.store.get<PrivateKey>('certificate_private_keys', certificate.key_id)
      const sealed = { key_kek_version: key?.kek_version ?? null, key_sealed_at: key?.created_at ?? null }
      return { ...shownCertificate(parts, certificate), chain, ...sealed }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/{id}/download',
    summary: 'download as PEM; a private key needs the role operator and is audited',
    tag,
    role: 'viewer',
    isForProjects: true,
    params: idParams,
    query: z.strictObject({ format: z.enum(['pem', 'chain', 'fullchain', 'key']).default('pem') }),
    reply: 'download',
    handle: downloadPem,
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/{id}/pkcs12',
    summary: 'download certificate, chain and key as PKCS#12 under a passphrase',
    tag,
    role: 'operator',
    isForProjects: true,
    params: idParams,
    body: z.strictObject({ passphrase: z.string().min(8).max(1000) }),
    reply: 'download',
    async handle({ parts, caller, params, body }) {
      const certificate = await visible(parts, caller, params.id)
      const key = await openPrivateKey(parts.certificates, certificate)
      const { writePkcs12 } = await import('../certificates/pkcs12.ts')
      const chain = parseCertificates(certificate.chain_pem).map((issuer) => issuer.toString())
      const content = await writePkcs12({
        key,
        certificatePem: certificate.certificate_pem,
        chain,
        name: certificate.name,
        passphrase: new Secret(body.passphrase),
      })
      await parts.store.commit([audited(caller.actor, 'certificate.key-exported', certificate._id, { format: 'pkcs12' })])
      return new Download('application/x-pkcs12', fileName(certificate, 'p12'), content)
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/{id}/renew',
    summary: 'queue a renewal; follow the job',
    tag,
    role: 'operator',
    isForProjects: true,
    params: idParams,
    reply: jobReply,
    async handle({ parts, caller, params }) {
      const { _id } = await visible(parts, caller, params.id)
      return requestRenewal(parts.certificates, caller, _id)
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/{id}/revoke',
    summary: 'revoke a certificate of an internal CA',
    tag,
    role: 'operator',
    isForProjects: true,
    params: idParams,
    body: z.strictObject({ reason: z.enum(Object.keys(revocationReasons) as [RevocationReason]).default('unspecified') }),
    reply: certificateReply,
    async handle({ parts, caller, params, body }) {
      const { _id } = await visible(parts, caller, params.id)
      return shownCertificate(parts, await revokeCertificate(parts.certificates, caller, _id, body.reason))
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/{id}/tag',
    summary: 'add and remove tags',
    tag,
    role: 'operator',
    isForProjects: true,
    params: idParams,
    body: z.strictObject({ add: tags, remove: tags }),
    reply: certificateReply,
    async handle({ parts, caller, params, body }) {
      const { _id } = await visible(parts, caller, params.id)
      return shownCertificate(parts, await tagCertificate(parts.store, caller, _id, body))
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/certificates/{id}',
    summary: 'forget a certificate and its keys; a valid one is revoked first',
    tag,
    role: 'admin',
    isForProjects: true,
    params: idParams,
    reply: 'empty',
    async handle({ parts, caller, params }) {
      const { _id, name } = await visible(parts, caller, params.id)
      const { length } = await deploymentsOf(parts.store, _id)
      if (length > 0)
        throw new AppError('conflict', `"${name}" is deployed to ${length} targets`, { hint: 'detach it from them first' })
      await removeCertificate(parts.certificates, caller, _id)
    },
  }),
]

/** @throws AppError `not-found`, also for one of a project that the caller does not have */
async function visible(parts: HttpParts, caller: Caller, id: string): Promise<Certificate> {
  const certificate = await requireCertificate(parts.store, id)
  requireVisible(caller, certificate.project_id, `certificate "${id}"`)
  return certificate
}

async function downloadPem({
  parts,
  caller,
  params,
  query,
}: RouteContext<{ id: string }, { format: 'pem' | 'chain' | 'fullchain' | 'key' }, undefined>): Promise<Download> {
  const certificate = await visible(parts, caller, params.id)
  if (query.format === 'key') {
    requireRole(caller, 'operator')
    const key = await openPrivateKey(parts.certificates, certificate)
    await parts.store.commit([audited(caller.actor, 'certificate.key-exported', certificate._id, { format: 'pem' })])
    return new Download(
      'application/x-pem-file',
      fileName(certificate, 'key'),
      key.export({ format: 'pem', type: 'pkcs8' }) as string,
    )
  }
  const content = {
    pem: certificate.certificate_pem,
    chain: certificate.chain_pem,
    fullchain: certificate.certificate_pem + certificate.chain_pem,
  }[query.format]
  return new Download('application/x-pem-file', fileName(certificate, 'pem'), content)
}

export function shownCertificate(parts: HttpParts, certificate: Certificate) {
  return {
    ...notFromAcme,
    ...renewalWorks,
    ...certificate,
    state: certificateState(certificate, parts.clock.now()),
    has_key: certificate.key_id !== '',
  }
}

function fileName(certificate: Certificate, extension: string): string {
  return `${certificate.name.replaceAll(/[^A-Za-z0-9.-]+/g, '_').replace(/^[_.]+/, '') || certificate._id}.${extension}`
}
