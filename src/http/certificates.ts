import { z } from 'zod'
import { type Caller, requireVisible } from '../access/roles.ts'
import type { Actor } from '../audit/audit.ts'
import type { Project } from '../certificates/collections.ts'
import { importCertificates, readPem, readPkcs12 } from '../certificates/import-certificates.ts'
import { issueCertificate } from '../certificates/issue-certificate.ts'
import { type KeyTypeName, keyTypes } from '../certificates/keys.ts'
import {
  certificateOrders,
  certificateStates,
  countCertificates,
  expiryByDay,
  listCertificates,
} from '../certificates/list-certificates.ts'
import { preflight } from '../certificates/preflight.ts'
import { requireProject } from '../certificates/projects.ts'
import { requestCertificate } from '../certificates/request-certificate.ts'
import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'
import { type ChallengeType, challengeTypes } from '../issuer/ordering-issuer.ts'
import { shownCertificate } from './certificate.ts'
import type { HttpParts } from './parts.ts'
import { pageOf, pageQuery, type Route, route } from './route.ts'
import { certificateReply } from './schemas.ts'

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
  search: z.string().max(200).optional().describe('words: parts of a name, issuer, serial or fingerprint; "#word" is a tag'),
  tag: z.string().max(32).optional(),
  sort: z.enum(certificateOrders).default('not_after'),
  direction: z.enum(['asc', 'desc']).default('asc'),
})

export const certificatesRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/certificates',
    summary: 'list certificates, soonest expiry first',
    tag,
    role: 'viewer',
    isForProjects: true,
    query: listQuery,
    reply: pageOf(certificateReply),
    async handle({ parts, caller, query }) {
      const page = await listCertificates(
        parts.store,
        { ...(await filterOf(parts, caller, query)), limit: query.limit, after: query.cursor },
        parts.clock.now(),
      )
      return { items: page.items.map((certificate) => shownCertificate(parts, certificate)), next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/count',
    summary: 'how many certificates a list would hold',
    tag,
    role: 'viewer',
    isForProjects: true,
    query: listQuery,
    reply: z.object({ count: z.number() }),
    async handle({ parts, caller, query }) {
      return { count: await countCertificates(parts.store, await filterOf(parts, caller, query), parts.clock.now()) }
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
    isForProjects: true,
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
      await visibleProject(parts, caller, body.project)
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
      return { ...shownCertificate(parts, certificate), job_id: null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/preflight',
    summary: 'what would go wrong if these names were asked for; asks no CA and changes nothing',
    tag,
    role: 'operator',
    isForProjects: true,
    body: z.strictObject({
      project: z.string().max(100),
      names: z.array(z.string().max(253)).min(1).max(100),
      acme: z
        .strictObject({
          account: z.string().max(100).optional(),
          challenge: z.enum(challengeTypes).optional(),
          dns_credential: z.string().max(100).optional(),
        })
        .optional(),
    }),
    reply: z.object({ checks: z.array(z.object({ state: z.enum(['ok', 'warning', 'failing']), text: z.string() })) }),
    async handle({ parts, caller, body }) {
      await visibleProject(parts, caller, body.project)
      const { project, names, acme } = body
      const asked = acme && { account: acme.account, challenge: acme.challenge, dnsCredential: acme.dns_credential }
      return { checks: await preflight(parts.certificates, { project, names, acme: asked }) }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/import',
    summary: 'watch certificates from PEM or PKCS#12; a key that comes along is sealed',
    tag,
    role: 'operator',
    isForProjects: true,
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
      await visibleProject(parts, caller, body.project)
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
]

async function filterOf(parts: HttpParts, caller: Caller, query: z.output<typeof listQuery>) {
  const project = query.project === undefined ? undefined : await visibleProject(parts, caller, query.project)
  return {
    projectId: project?._id ?? caller.projectId,
    kind: query.kind,
    state: query.state,
    search: query.search,
    tag: query.tag,
    sort: query.sort,
    direction: query.direction,
  }
}

/** @throws AppError `not-found`, also for a project that the caller does not have */
async function visibleProject(parts: HttpParts, caller: Caller, idOrName: string): Promise<Project> {
  const project = await requireProject(parts.store, idOrName)
  requireVisible(caller, project._id, `project "${idOrName}"`)
  return project
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
  return { ...shownCertificate(parts, certificate), job_id: job._id }
}
