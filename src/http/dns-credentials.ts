import { z } from 'zod'
import type { DnsCredential } from '../certificates/collections.ts'
import { createCredential, probeCredential, removeCredential } from '../certificates/dns-credentials.ts'
import { requireProject } from '../certificates/projects.ts'
import { Secret } from '../core/secret.ts'
import { dnsProviders } from '../dns/dns.ts'
import { idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { dnsCredentialReply } from './schemas.ts'

const tag = 'dns'
const probeTimeoutMs = 180_000

export const dnsCredentialRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/dns-credentials',
    summary: 'list what may change DNS zones for DNS-01',
    tag,
    role: 'viewer',
    query: z.strictObject({ ...pageQuery, project: z.string().max(100).optional() }),
    reply: pageOf(dnsCredentialReply),
    async handle({ parts, query }) {
      const where = query.project === undefined ? {} : { project_id: (await requireProject(parts.store, query.project))._id }
      const page = await parts.store.find<DnsCredential>('dns_credentials', { where, limit: query.limit, after: query.cursor })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/dns-credentials',
    summary: 'keep a credential for DNS zones; its secret is sealed and never shown again',
    tag,
    role: 'admin',
    body: z.strictObject({
      project: z.string().max(100),
      name: z.string().min(1).max(64),
      provider: z.enum(dnsProviders),
      settings: z.record(z.string().max(50), z.string().max(500)).default({}),
      secret: z.string().min(1).max(10_000),
    }),
    reply: dnsCredentialReply,
    async handle({ parts, caller, body }) {
      return createCredential(parts.certificates, caller, { ...body, secret: new Secret(body.secret) })
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/dns-credentials/{id}',
    summary: 'forget a credential',
    tag,
    role: 'admin',
    params: idParams,
    reply: 'empty',
    async handle({ parts, caller, params }) {
      await removeCredential(parts.certificates, caller, params.id)
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/dns-credentials/{id}/test',
    summary: 'prove a credential: write a record, see it at the zone, remove it',
    tag,
    role: 'operator',
    params: idParams,
    body: z.strictObject({ domain: z.string().min(1).max(253) }),
    reply: z.object({ zone: z.string(), name: z.string(), seconds: z.number() }),
    async handle({ parts, caller, params, body }) {
      return probeCredential(
        parts.certificates,
        caller,
        { id: params.id, domain: body.domain },
        AbortSignal.timeout(probeTimeoutMs),
      )
    },
  }),
]
