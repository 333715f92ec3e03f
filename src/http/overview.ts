import { z } from 'zod'
import type { CatalogueEntry } from '../backup/catalogue.ts'
import { countCertificates } from '../certificates/list-certificates.ts'
import type { Epoch } from '../epoch/epoch.ts'
import type { HttpParts } from './parts.ts'
import { type Route, route } from './route.ts'

const recoverabilityReply = z.object({
  /** When the newest good bundle was taken: what could be restored to. */
  restorable_to: z.string().nullable(),
  bundle: z.string().nullable(),
  verified_at: z.string().nullable(),
  recovery_proven_at: z.string().nullable(),
  is_recovery_proven: z.boolean(),
  last_drill: z.object({ at: z.string(), outcome: z.string(), recovery_ms: z.number() }).nullable(),
  drill_interval_days: z.number(),
  copies: z.number(),
  /** Targets off this host, and how many of them hold the newest good bundle. */
  targets: z.number(),
  targets_current: z.number(),
  damaged: z.number(),
})

export const overviewRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/overview',
    summary: 'how things are: certificates, jobs, and whether all of it could be restored',
    tag: 'status',
    role: 'viewer',
    reply: z.object({
      certificates: z.object({
        total: z.number(),
        active: z.number(),
        expiring: z.number(),
        expired: z.number(),
        failing: z.number(),
        requested: z.number(),
      }),
      jobs: z.object({ queued: z.number(), running: z.number(), dead: z.number() }),
      recoverability: recoverabilityReply,
      setup: z.object({ issuers: z.number(), channels: z.number(), is_kit_here: z.boolean() }),
      safe_mode: z.object({ reason: z.string(), since: z.string() }).nullable(),
    }),
    async handle({ parts }) {
      const [certificates, jobs, recoverability, setup, epoch] = await Promise.all([
        certificateCounts(parts),
        jobCounts(parts),
        recoverabilityOf(parts),
        setupOf(parts),
        parts.store.get<Epoch>('epochs', 'state'),
      ])
      const safe_mode = epoch?.safe_mode ? { reason: epoch.safe_mode_reason, since: epoch.started_at.toISOString() } : null
      return { certificates, jobs, recoverability, setup, safe_mode }
    },
  }),
]

async function certificateCounts({ store, clock }: HttpParts) {
  const now = clock.now()
  const count = (state?: 'active' | 'expiring' | 'expired' | 'failing' | 'requested') => countCertificates(store, { state }, now)
  const [total, active, expiring, expired, failing, requested] = await Promise.all([
    count(),
    count('active'),
    count('expiring'),
    count('expired'),
    count('failing'),
    count('requested'),
  ])
  return { total, active, expiring, expired, failing, requested }
}

/** What a new installation may still lack. */
async function setupOf(parts: HttpParts) {
  const [cas, accounts, channels] = await Promise.all(
    ['certificate_authorities', 'acme_accounts', 'notification_channels'].map((name) => parts.store.count(name)),
  )
  const is_kit_here = await parts.recoveryKit().then(
    () => true,
    () => false,
  )
  return { issuers: (cas ?? 0) + (accounts ?? 0), channels: channels ?? 0, is_kit_here }
}

async function jobCounts({ store }: HttpParts) {
  const [queued, running, dead] = await Promise.all(['queued', 'running', 'dead'].map((state) => store.count('jobs', { state })))
  return { queued, running, dead }
}

async function recoverabilityOf(parts: HttpParts): Promise<z.input<typeof recoverabilityReply>> {
  const entries = await parts.backups()
  const good = entries.filter(isGood)
  const drill = (await parts.drills())[0]
  const proof = await parts.recoveryProof()
  const newest = (times: (string | undefined)[]) =>
    times
      .filter((time) => time !== undefined)
      .sort()
      .at(-1) ?? null
  return {
    restorable_to: good[0]?.sidecar?.manifest.point_in_time.taken_at ?? null,
    bundle: good[0]?.name ?? null,
    verified_at: newest(good.map(({ state }) => state.verified_at)),
    recovery_proven_at: proof.at,
    is_recovery_proven: proof.isCurrent,
    last_drill: drill === undefined ? null : { at: drill.started_at, outcome: drill.outcome, recovery_ms: drill.recovery_ms },
    drill_interval_days: parts.drillIntervalDays,
    copies: good.length,
    targets: parts.targets.length,
    targets_current: parts.targets.filter(({ name }) => good[0]?.state.copies?.[name] !== undefined).length,
    damaged: entries.filter(({ isDamaged }) => isDamaged).length,
  }
}

function isGood({ isDamaged, sidecar, state }: CatalogueEntry): boolean {
  return !isDamaged && sidecar !== undefined && state.failed_at === undefined
}
