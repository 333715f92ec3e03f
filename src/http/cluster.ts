import { z } from 'zod'
import type { Heartbeat } from '../jobs/job.ts'
import { leaseHolder } from '../jobs/lease.ts'
import { type Route, route, timestamp } from './route.ts'

export const clusterRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/cluster',
    summary: 'the processes that live, which one leads, and the KEK version that each writes with',
    tag: 'status',
    role: 'viewer',
    reply: z.object({
      processes: z.array(
        z.object({
          _id: z.string(),
          mode: z.string(),
          host: z.string(),
          pid: z.number(),
          version: z.string(),
          kek_version: z.number(),
          is_leader: z.boolean(),
          started_at: timestamp,
          lease_until: timestamp,
        }),
      ),
    }),
    async handle({ parts: { store, clock } }) {
      const now = clock.now()
      const { items } = await store.find<Heartbeat>('heartbeats', { limit: 500 })
      const leader = await leaseHolder(store, 'scheduler', now)
      const living = items.filter(({ lease_until }) => lease_until > now)
      return { processes: living.map((beat) => ({ ...beat, is_leader: beat._id === leader })) }
    },
  }),
]
