import { z } from 'zod'
import { requireRole } from '../access/roles.ts'
import { type Actor, audited } from '../audit/audit.ts'
import type { Certificate } from '../certificates/collections.ts'
import { describeCertificate, notFromAcme, parseCertificates, renewalWorks } from '../certificates/describe.ts'
import { importCertificates, readPem, readPkcs12 } from '../certificates/import-certificates.ts'
import { issueCertificate } from '../certificates/issue-certificate.ts'
import { type KeyTypeName, keyTypes, openPrivateKey } from '../certificates/keys.ts'
import {
  certificateOrders,
  certificateState,
  certificateStates,
  countCertificates,
  expiryByDay,
  listCertificates,
  requireCertificate,
} from '../certificates/list-certificates.ts'
import { requestCertificate } from '../certificates/order-certificate.ts'
import { requireProject } from '../certificates/projects.ts'
import { requestRenewal } from '../certificates/renew-certificate.ts'
import { revokeCertificate } from '../certificates/revoke-certificate.ts'
import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'
import { type RevocationReason, revocationReasons } from '../issuer/issuer.ts'
import { type ChallengeType, challengeTypes } from '../issuer/ordering-issuer.ts'
import type { HttpParts } from './parts.ts'
import { Download, idParams, pageOf, pageQuery, type Route, type RouteContext, route, timestamp } from './route.ts'
import { certificateReply, jobReply } from './schemas.ts'

const tag = 'certificates'
const importReply = z.object({
  imported: z.number(),
  known: z.number(),
  certificates: z.array(z.object({ id: z.string(), name: z.string() })),
})
const listQuery = z.strictObject({
  ...pageQuery,
  project: z.string().max(100).optional().describe('id or name'),
  kind: z.enum(['managed', 'watched']).optional(),
  state: z.enum(certificateStates).optional(),
  search: z.string().max(200).optional().describe('part of a name, issuer, serial or fingerprint'),
  sort: z.enum(certificateOrders).default('not_after'),
  direction: z.enum(['asc', 'desc']).default('asc'),
})

export const certificateRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/certificates',
    summary: 'list certificates, soonest expiry first',
    tag,
    role: 'viewer',
    query: listQuery,
    reply: pageOf(certificateReply),
    async handle({ parts, query }) {
      const page = await listCertificates(
        parts.store,
        { ...(await filterOf(parts, query)), limit: query.limit, after: query.cursor },
        parts.clock.now(),
      )
      return { items: page.items.map((certificate) => shown(parts, certificate)), next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/count',
    summary: 'how many certificates a list would hold',
    tag,
    role: 'viewer',
    query: listQuery,
    reply: z.object({ count: z.number() }),
    async handle({ parts, query }) {
      return { count: await countCertificates(parts.store, await filterOf(parts, query), parts.clock.now()) }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/expiry',
    summary: 'how many active certificates expire on each of the next days (UTC)',
    tag,
    role: 'viewer',
    query: z.strictObject({ days: z.coerce.number().int().min(1).max(120).default(90) }),
    reply: z.object({ days: z.array(z.object({ day: z.string(), count: z.number() })) }),
    async handle({ parts, query }) {
      return { days: await expiryByDay(parts.store, parts.clock.now(), query.days) }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates',
    summary: 'issue a certificate from an internal CA, or ask an ACME CA for one',
    tag,
    role: 'operator',
    body: z.strictObject({
      project: z.string().max(100),
      ca: z.string().max(100).optional(),
      names: z.array(z.string().max(253)).max(100).default([]),
      csr_pem: z.string().max(50_000).optional(),
      key_type: z.enum(keyTypes).optional(),
      validity_days: z.number().int().min(1).max(825).optional(),
      auto_renew: z.boolean().optional(),
      acme: z
        .strictObject({
          account: z.string().max(100).optional().describe('id or name; the only one if not given'),
          challenge: z.enum(challengeTypes).optional(),
          dns_credential: z.string().max(100).optional().describe('id or name; for dns-01'),
        })
        .optional()
        .describe('asks an ACME CA: the certificate is "requested" until its job is done'),
    }),
    reply: certificateReply.extend({ job_id: z.string().nullable() }),
    async handle({ parts, caller, body }) {
      if (body.acme !== undefined) return requestFromAcme(parts, caller, body)
      const certificate = await issueCertificate(parts.certificates, caller, {
        project: body.project,
        ca: body.ca,
        names: body.names,
        csrPem: body.csr_pem,
        keyType: body.key_type,
        validityDays: body.validity_days,
        autoRenew: body.auto_renew,
      })
      return { ...shown(parts, certificate), job_id: null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/import',
    summary: 'watch certificates from PEM or PKCS#12; a key that comes along is sealed',
    tag,
    role: 'operator',
    body: z.strictObject({
      project: z.string().max(100),
      files: z
        .array(
          z.strictObject({
            name: z.string().max(500),
            pem: z.string().max(4_000_000).optional(),
            pkcs12: z.base64().max(4_000_000).optional(),
            passphrase: z.string().max(1000).optional(),
          }),
        )
        .min(1)
        .max(500),
    }),
    reply: importReply,
    async handle({ parts, caller, body }) {
      const imports = body.files.flatMap((file) => {
        if (file.pkcs12 !== undefined)
          return readPkcs12(
            Buffer.from(file.pkcs12, 'base64'),
            file.passphrase === undefined ? undefined : new Secret(file.passphrase),
            file.name,
          )
        if (file.pem === undefined) throw new AppError('usage', `"${file.name}": give "pem" or "pkcs12"`)
        return readPem(file.pem, file.name)
      })
      return importCertificates(parts.certificates, caller, { project: body.project, imports })
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/{id}',
    summary: 'show a certificate',
    tag,
    role: 'viewer',
    params: idParams,
    reply: certificateReply.extend({
      certificate_pem: z.string(),
      chain_pem: z.string(),
      chain: z.array(z.object({ name: z.string(), issuer: z.string(), not_before: timestamp, not_after: timestamp })),
    }),
    async handle({ parts, params }) {
      const certificate = await requireCertificate(parts.store, params.id)
      const chain = parseCertificates(certificate.chain_pem).map(describeCertificate)
      return { ...shown(parts, certificate), chain }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/{id}/download',
    summary: 'download as PEM; a private key needs the role operator and is audited',
    tag,
    role: 'viewer',
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
    params: idParams,
    body: z.strictObject({ passphrase: z.string().min(8).max(1000) }),
    reply: 'download',
    async handle({ parts, caller, params, body }) {
      const certificate = await requireCertificate(parts.store, params.id)
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
    params: idParams,
    reply: jobReply,
    async handle({ parts, caller, params }) {
      return requestRenewal(parts.certificates, caller, params.id)
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/{id}/revoke',
    summary: 'revoke a certificate of an internal CA',
    tag,
    role: 'operator',
    params: idParams,
    body: z.strictObject({ reason: z.enum(Object.keys(revocationReasons) as [RevocationReason]).default('unspecified') }),
    reply: certificateReply,
    async handle({ parts, caller, params, body }) {
      return shown(parts, await revokeCertificate(parts.certificates, caller, params.id, body.reason))
    },
  }),
]

async function downloadPem({
  parts,
  caller,
  params,
  query,
}: RouteContext<{ id: string }, { format: 'pem' | 'chain' | 'fullchain' | 'key' }, undefined>): Promise<Download> {
  const certificate = await requireCertificate(parts.store, params.id)
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

async function filterOf(parts: HttpParts, query: z.output<typeof listQuery>) {
  const project = query.project === undefined ? undefined : await requireProject(parts.store, query.project)
  return {
    projectId: project?._id,
    kind: query.kind,
    state: query.state,
    search: query.search,
    sort: query.sort,
    direction: query.direction,
  }
}

interface AcmeBody {
  project: string
  names: string[]
  csr_pem?: string | undefined
  validity_days?: number | undefined
  ca?: string | undefined
  key_type?: KeyTypeName | undefined
  auto_renew?: boolean | undefined
  acme?: { account?: string | undefined; challenge?: ChallengeType | undefined; dns_credential?: string | undefined } | undefined
}

async function requestFromAcme(parts: HttpParts, caller: { actor: Actor }, body: AcmeBody) {
  const misplaced = (['csr_pem', 'validity_days', 'ca'] as const).find((field) => body[field] !== undefined)
  if (misplaced !== undefined) throw new AppError('usage', `body.${misplaced}: an ACME CA is not asked for this`)
  const { certificate, job } = await requestCertificate(parts.certificates, caller, {
    project: body.project,
    account: body.acme?.account,
    names: body.names,
    challenge: body.acme?.challenge,
    dnsCredential: body.acme?.dns_credential,
    keyType: body.key_type,
    autoRenew: body.auto_renew,
  })
  return { ...shown(parts, certificate), job_id: job._id }
}

function shown(parts: HttpParts, certificate: Certificate) {
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
