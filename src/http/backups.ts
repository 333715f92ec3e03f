import { z } from 'zod'
import { type Route, route } from './route.ts'

/** Read only: what hands out or takes in a bundle is a command on the host, not a call of the API. */
export const backupRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/backups',
    summary: 'list the bundles of this host, newest first',
    tag: 'backups',
    role: 'viewer',
    reply: z.object({
      items: z.array(
        z.object({
          name: z.string(),
          bytes: z.number(),
          is_damaged: z.boolean(),
          created_at: z.string().nullable(),
          suspect: z.string(),
          kek_versions: z.array(z.object({ version: z.number(), fingerprint: z.string() })),
          verified_at: z.string().nullable(),
          verified_level: z.string().nullable(),
          recovery_proven_at: z.string().nullable(),
        }),
      ),
    }),
    async handle({ parts }) {
      const entries = await parts.backups()
      return {
        items: entries.map(({ name, bytes, isDamaged, sidecar, state }) => ({
          name,
          bytes,
          is_damaged: isDamaged,
          created_at: sidecar?.manifest.created_at ?? null,
          suspect: sidecar?.manifest.suspect ?? '',
          kek_versions: sidecar?.manifest.kek.versions ?? [],
          verified_at: state.verified_at ?? null,
          verified_level: state.verified_level ?? null,
          recovery_proven_at: state.recovery_proven_at ?? null,
        })),
      }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/drills',
    summary: 'list restore drills, newest first',
    tag: 'backups',
    role: 'viewer',
    reply: z.object({
      items: z.array(
        z.object({
          id: z.string(),
          bundle: z.string(),
          started_at: z.string(),
          outcome: z.string(),
          failure: z.string(),
          recovery_ms: z.number(),
        }),
      ),
    }),
    handle: async ({ parts }) => ({ items: await parts.drills() }),
  }),
]
