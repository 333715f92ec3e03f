import { z } from 'zod'
import type { AuditEntry } from '../audit/audit.ts'
import { verifyAudit } from '../audit/verify-audit.ts'
import { pageOf, pageQuery, type Route, route } from './route.ts'
import { auditReply } from './schemas.ts'

export const auditRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/audit-logs',
    summary: 'list what was done, newest first',
    tag: 'audit',
    role: 'admin',
    query: z.strictObject(pageQuery),
    reply: pageOf(auditReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<AuditEntry>('audit_logs', {
        sort: { field: '_id', direction: 'desc' },
        limit: query.limit,
        after: query.cursor,
      })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/audit-logs/verify',
    summary: 'recompute the chain of HMACs',
    tag: 'audit',
    role: 'admin',
    reply: z.object({ checked: z.number(), unlinked: z.number(), headHmac: z.string() }),
    async handle({ parts }) {
      return verifyAudit(parts.store, parts.auditSecret)
    },
  }),
]
