import { z } from 'zod'
import { isSetUp } from '../access/setup.ts'
import { AppError } from '../core/app-error.ts'
import { type Epoch, releaseSafeMode } from '../epoch/epoch.ts'
import { kekVersions } from '../kek/registry.ts'
import { renderMetrics } from './metrics.ts'
import { Download, type Route, route, timestamp } from './route.ts'

const epochReply = z.object({ epoch: z.number(), safe_mode: z.boolean(), safe_mode_reason: z.string(), restored_from: z.string() })

export const statusRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/healthz',
    summary: 'whether the process runs',
    tag: 'status',
    role: 'public',
    reply: z.object({ status: z.literal('ok') }),
    handle: async () => ({ status: 'ok' }),
  }),
  route({
    method: 'GET',
    path: '/readyz',
    summary: 'whether the service can work; names the part that cannot',
    tag: 'status',
    role: 'public',
    reply: 'download',
    async handle({ parts }) {
      const problems = await parts.problems()
      const isReady = Object.keys(problems).length === 0
      if (isReady) return readyText
      throw new AppError(
        'unreachable',
        `not ready: ${Object.entries(problems)
          .map(([part, text]) => `${part}: ${text}`)
          .join('; ')}`,
        { details: problems },
      )
    },
  }),
  route({
    method: 'GET',
    path: '/metrics',
    summary: 'metrics in the text format of Prometheus',
    tag: 'status',
    role: 'public',
    reply: 'download',
    async handle({ parts }) {
      return new Download('text/plain; version=0.0.4', 'metrics.txt', await renderMetrics(parts))
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/status',
    summary: 'version, set-up, safe mode and keys',
    tag: 'status',
    role: 'viewer',
    reply: z.object({
      version: z.string(),
      engine: z.string(),
      database: z.string(),
      is_set_up: z.boolean(),
      epoch: epochReply.nullable(),
      recovery_proven_at: z.string().nullable().describe('when the recovery identity itself last opened a bundle'),
      is_recovery_proven: z.boolean().describe('whether that was in the last year'),
      kek: z.object({
        provider: z.string(),
        active_version: z.number(),
        versions: z.array(z.object({ version: z.number(), fingerprint: z.string(), state: z.string(), created_at: timestamp })),
      }),
    }),
    async handle({ parts }) {
      const { store, certificates } = parts
      const versions = await kekVersions(store)
      const proof = await parts.recoveryProof()
      return {
        version: parts.appVersion,
        engine: store.engine,
        database: store.databaseName,
        is_set_up: await isSetUp(store),
        epoch: (await store.get<Epoch>('epochs', 'state')) ?? null,
        recovery_proven_at: proof.at,
        is_recovery_proven: proof.isCurrent,
        kek: { provider: certificates.kek.provider.name, active_version: certificates.kek.activeVersion, versions },
      }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/restore/release',
    summary: 'end safe mode after a restore',
    tag: 'status',
    role: 'owner',
    reply: epochReply,
    async handle({ parts, caller }) {
      return releaseSafeMode(parts.store, caller.actor, parts.clock.now())
    },
  }),
]

const readyText = new Download('application/json', 'ready.json', '{"status":"ready"}')
