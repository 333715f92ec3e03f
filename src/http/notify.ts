import { z } from 'zod'
import { requireProject } from '../certificates/projects.ts'
import { Secret } from '../core/secret.ts'
import { createChannel, removeChannel, testChannel } from '../notify/channels.ts'
import type { NotificationChannel } from '../notify/collections.ts'
import { channelKinds, severities } from '../notify/notify.ts'
import { idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { channelReply } from './schemas.ts'

const tag = 'notify'
const testTimeoutMs = 60_000

export const notifyRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/notification-channels',
    summary: 'list ways to tell people',
    tag,
    role: 'viewer',
    query: z.strictObject(pageQuery),
    reply: pageOf(channelReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<NotificationChannel>('notification_channels', { limit: query.limit, after: query.cursor })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/notification-channels',
    summary: 'add a way to tell people; its secret is sealed and never shown again',
    tag,
    role: 'admin',
    body: z.strictObject({
      name: z.string().min(1).max(64),
      kind: z.enum(channelKinds),
      settings: z.record(z.string().max(50), z.string().max(2000)).default({}),
      secret: z.string().max(10_000).default(''),
      min_severity: z.enum(severities).default('warning'),
      project: z.string().max(100).optional().describe('only events of this project'),
    }),
    reply: channelReply,
    async handle({ parts, caller, body }) {
      const projectId = body.project === undefined ? '' : (await requireProject(parts.store, body.project))._id
      const { name, kind, settings, min_severity: minSeverity } = body
      const input = { name, kind, settings, minSeverity, projectId, secret: new Secret(body.secret) }
      return createChannel(parts.notify, caller.actor, input)
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/notification-channels/{id}',
    summary: 'remove a channel',
    tag,
    role: 'admin',
    params: idParams,
    reply: 'empty',
    handle: async ({ parts, caller, params }) => removeChannel(parts.notify, caller.actor, params.id),
  }),
  route({
    method: 'POST',
    path: '/api/v1/notification-channels/{id}/test',
    summary: 'send a test message over a channel, now',
    tag,
    role: 'operator',
    params: idParams,
    reply: 'empty',
    handle: async ({ parts, caller, params }) =>
      testChannel(parts.notify, caller.actor, params.id, AbortSignal.timeout(testTimeoutMs)),
  }),
]
