import { z } from 'zod'
import { createAuthority, currentCrl, requireAuthority } from '../certificates/authorities.ts'
import type { CertificateAuthority } from '../certificates/collections.ts'
import { Download, idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { authorityReply } from './schemas.ts'

export const authorityRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/cas',
    summary: 'list internal CAs',
    tag: 'cas',
    role: 'viewer',
    query: z.strictObject(pageQuery),
    reply: pageOf(authorityReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<CertificateAuthority>('certificate_authorities', {
        limit: query.limit,
        after: query.cursor,
      })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/cas',
    summary: 'make an internal CA: a root and an intermediate',
    tag: 'cas',
    role: 'admin',
    body: z.strictObject({ name: z.string().min(1).max(64) }),
    reply: authorityReply,
    async handle({ parts, caller, body }) {
      return createAuthority(parts.certificates, caller, body.name)
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/cas/{id}',
    summary: 'show an internal CA',
    tag: 'cas',
    role: 'viewer',
    params: idParams,
    reply: authorityReply,
    async handle({ parts, params }) {
      return requireAuthority(parts.certificates, params.id)
    },
  }),
  route({
    method: 'GET',
    path: '/crl/{id}',
    summary: 'the revocation list of a CA (DER); the path ends in .crl',
    tag: 'cas',
    role: 'public',
    params: idParams,
    reply: 'download',
    async handle({ parts, params }) {
      const id = params.id.replace(/\.crl$/, '')
      return new Download('application/pkix-crl', `${id}.crl`, await currentCrl(parts.certificates, id))
    },
  }),
]
