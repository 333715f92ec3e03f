import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { countCertificates } from '../certificates/list-certificates.ts'
import { dayMs } from '../core/clock.ts'
import type { HttpParts } from './parts.ts'

const registry = new Registry()
const counter = (name: string, help: string, labelNames: string[]) => new Counter({ name, help, labelNames, registers: [registry] })
const gauge = (name: string, help: string, labelNames: string[] = []) =>
  new Gauge({ name, help, labelNames, registers: [registry] })

const requests = counter('cap_http_requests_total', 'HTTP requests', ['method', 'path', 'status'])
const durations = new Histogram({
  name: 'cap_http_request_duration_seconds',
  help: 'Duration of HTTP requests',
  labelNames: ['method', 'path'],
  registers: [registry],
})
const certificates = gauge('cap_certificates_total', 'Certificates', ['status'])
const expiring = gauge('cap_certificates_expiring_in_days', 'Active certificates that expire within so many days', ['threshold'])
const queue = gauge('cap_jobs_queue_depth', 'Jobs by state', ['state'])
const lastBackup = gauge('certautopilot_backup_last_success_timestamp_seconds', 'When the newest good bundle was taken')
const lastVerified = gauge('certautopilot_backup_last_verified_timestamp_seconds', 'When a bundle was last verified')
const expectedInterval = gauge(
  'certautopilot_backup_expected_interval_seconds',
  'A backup is overdue when the newest is older than this and some slack; 0 when nothing plans them',
)
const rpo = gauge('certautopilot_backup_rpo_seconds', 'Age of the newest good bundle: what a restore would lose')
const targetUp = gauge('certautopilot_backup_target_up', '1 if the last attempt to bring a target its copies went well', ['target'])
const targetWhole = gauge('certautopilot_backup_target_last_success_timestamp_seconds', 'When a target last had every copy', [
  'target',
])
const retentionFailures = counter('certautopilot_retention_failures_total', 'How often retention failed on this host', [])
const recoveryProven = gauge(
  'certautopilot_recovery_last_proven_timestamp_seconds',
  'When the recovery identity itself last opened a bundle; 0 when it never did',
)
const lastDrill = gauge('certautopilot_drill_last_success_timestamp_seconds', 'When a drill last passed')
const drillInterval = gauge('certautopilot_drill_expected_interval_seconds', 'A drill is overdue when the last one is older')
const rto = gauge('certautopilot_restore_rto_seconds', 'How long the last drill needed until the restored service was ready')
const kekRequired = gauge('certautopilot_kek_required_by_backups', 'Bundles that need this KEK version', ['version'])

export function requestFinished(method: string, path: string, status: number, elapsedMs: number): void {
  requests.inc({ method, path, status: String(status) })
  durations.observe({ method, path }, elapsedMs / 1000)
}

export async function renderMetrics(parts: HttpParts): Promise<string> {
  await Promise.all([
    measureCertificates(parts),
    measureJobs(parts),
    measureBackups(parts),
    measureTargets(parts),
    measureDrills(parts),
  ])
  return registry.metrics()
}

async function measureCertificates({ store, clock }: HttpParts): Promise<void> {
  const now = clock.now()
  for (const state of ['active', 'expiring', 'expired', 'revoked'] as const) {
    certificates.set({ status: state }, await countCertificates(store, { state }, now))
  }
  for (const days of [7, 14, 30, 90]) {
    const limit = new Date(now.getTime() + days * dayMs)
    expiring.set(
      { threshold: String(days) },
      await store.count('certificates', { status: 'active', not_after: { gt: now, lt: limit } }),
    )
  }
}

async function measureJobs({ store }: HttpParts): Promise<void> {
  for (const state of ['queued', 'running', 'dead']) queue.set({ state }, await store.count('jobs', { state }))
}

async function measureBackups(parts: HttpParts): Promise<void> {
  const good = (await parts.backups()).filter(
    (entry) => !entry.isDamaged && entry.sidecar !== undefined && entry.state.failed_at === undefined,
  )
  const seconds = (text: string | undefined) => (text === undefined ? 0 : Date.parse(text) / 1000)
  const newest = ((await parts.lastPoint())?.taken_at.getTime() ?? 0) / 1000
  lastBackup.set(newest)
  lastVerified.set(Math.max(0, ...good.map((entry) => seconds(entry.state.verified_at))))
  expectedInterval.set(parts.backupIntervalSeconds() ?? 0)
  rpo.set(newest === 0 ? Number.POSITIVE_INFINITY : parts.clock.now().getTime() / 1000 - newest)
  kekRequired.reset()
  for (const entry of good) {
    for (const { version, envelopes } of entry.sidecar?.manifest.kek.versions ?? [])
      if (envelopes > 0) kekRequired.inc({ version: String(version) })
  }
}

async function measureTargets(parts: HttpParts): Promise<void> {
  const { targets, retention_failures } = await parts.standing()
  const { at } = await parts.recoveryProof()
  recoveryProven.set(at === null ? 0 : Date.parse(at) / 1000)
  retentionFailures.reset()
  retentionFailures.inc(retention_failures)
  for (const gauge of [targetUp, targetWhole]) gauge.reset()
  for (const { name: target } of parts.targets) {
    const standing = targets[target]
    targetUp.set({ target }, standing?.error === '' ? 1 : 0)
    targetWhole.set({ target }, standing?.whole_at ? Date.parse(standing.whole_at) / 1000 : 0)
  }
}

async function measureDrills(parts: HttpParts): Promise<void> {
  const passed = (await parts.drills()).filter((report) => report.outcome === 'passed')
  lastDrill.set(passed[0] === undefined ? 0 : Date.parse(passed[0].started_at) / 1000)
  rto.set((passed[0]?.recovery_ms ?? 0) / 1000)
  drillInterval.set(parts.drillIntervalDays * 86_400)
}
