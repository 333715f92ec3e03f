import { type Actor, audited } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { formatBytes, formatCount, formatDuration, plural } from '../core/units.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import type { JobRun } from '../jobs/worker.ts'
import type { Change, Store } from '../store/store.ts'
import { copyToTargets } from './copy-to-targets.ts'
import { type BackupResult, createBackup } from './create-backup.ts'
import type { DrillReport } from './drill-report.ts'
import { type EarlyCopies, prepareCopies } from './early-copies.ts'
import type { BackupParts } from './parts.ts'
import { pruneBackups } from './prune-backups.ts'
import type { TargetResult } from './prune-target.ts'
import { runDrill } from './run-drill.ts'
import { verifyListed } from './verify-listed.ts'

/** What the service itself does about backups, as jobs that a person can follow. */
export const backupJobKinds = { create: 'backup.create', verify: 'backup.verify', drill: 'drill.run' } as const
type BackupJobKind = (typeof backupJobKinds)[keyof typeof backupJobKinds]

/** Queues one, or gives the one that is queued or running already. @param subject the bundle, or `host` */
export async function requestBackupJob(
  store: Store,
  actor: Actor,
  kind: BackupJobKind,
  subject: string,
  now: Date,
  reason?: string,
): Promise<Job> {
  const { items } = await store.find<Job>('jobs', { where: { subject, state: { in: ['queued', 'running'] } } })
  const pending = items.find((job) => job.kind === kind)
  if (pending !== undefined) return broughtForward(store, pending, now)
  const { job, change } = queuedJob(kind, subject, actor, now)
  await store.commit([
    change,
    audited(actor, `${kind}.requested`, subject, { job: job._id, ...(reason === undefined ? {} : { reason }) }),
  ])
  return job
}

/** One that waits for its next attempt, perhaps until tomorrow, does not wait any longer. */
async function broughtForward(store: Store, job: Job, now: Date): Promise<Job> {
  if (job.state !== 'queued' || job.run_at <= now) return job
  const document: Job = { ...job, run_at: now }
  try {
    await store.commit([{ replace: 'jobs', document, expect: { state: 'queued', attempts: job.attempts } }])
    return document
  } catch (error) {
    // A worker was faster.
    if (isAppError(error, 'conflict')) return job
    throw error
  }
}

/** @param open reads the settings, which may be wrong */
export async function createBackupJob(open: () => BackupParts, store: Store, run: JobRun): Promise<void> {
  const failure = { event: 'backup.failed', subject: run.job.subject, signal: run.signal }
  const parts = await told(store, run.job.requested_by, failure, async () => open())
  await using early = await prepareCopies(parts, run.signal)
  const result = await told(store, run.job.requested_by, failure, () =>
    createBackup(withSteps(parts, run), store, run.signal, early),
  )
  for (const note of result.notes) await run.step(note)
  const { opened, total } = result.envelopes
  await run.step(`opened ${formatCount(opened)} of ${plural(total, 'envelope')}`)
  await run.step(`published ${result.name}, ${formatBytes(result.bytes)}, in ${formatDuration(result.durationMs)}`)
  const targets = await copied(parts, store, run.job.requested_by, run.signal, early)
  for (const target of targets) await run.step(targetLine(target))
  await run.step(await retained(parts, store, run.job.requested_by))
  const beat = await heartbeat(parts, targets)
  if (beat !== '') await run.step(beat)
  await run.finish([backupTaken(run.job.requested_by, result)])
}

/** Retention after a good backup. That it failed is told, and does not make the backup a bad one. @returns what a person is shown */
export async function retained(parts: BackupParts, store: Store, actor: Actor): Promise<string> {
  try {
    const removed = await pruneBackups(parts)
    if (removed.length === 0) return 'retention: every bundle stays'
    await store.commit([audited(actor, 'backup.pruned', 'host', { bundles: removed })])
    return `retention: removed ${removed.join(', ')}`
  } catch (error) {
    const entry = audited(actor, 'backup.retention-failed', 'host', { error: messageOf(error) })
    await store.commit([entry]).catch(() => {})
    await parts.standing.change((was) => ({ ...was, retention_failures: was.retention_failures + 1 })).catch(() => {})
    return `retention: ${messageOf(error)}`
  }
}

/** Copies to the targets, after a good backup. A target that failed is told. */
export async function copied(
  parts: BackupParts,
  store: Store,
  actor: Actor,
  signal: AbortSignal,
  early: EarlyCopies | undefined,
): Promise<TargetResult[]> {
  if (parts.targets.length === 0) return []
  const results = await copyToTargets(parts, signal, early)
  for (const { target, error } of results.filter((result) => result.error !== ''))
    await store.commit([audited(actor, 'backup.partial', target, { target, error })]).catch(() => {})
  return results
}

/** After a backup that is whole, at every target too. @returns what a person is shown; empty when nobody listens */
export async function heartbeat(parts: BackupParts, targets: readonly TargetResult[]): Promise<string> {
  if (parts.config['backup.heartbeat_url'] === '') return ''
  if (targets.some(({ error }) => error !== '')) return 'heartbeat: not sent, as a target lacks its copy'
  return parts.sendHeartbeat().then(
    () => 'heartbeat: sent',
    (error) => `heartbeat: ${messageOf(error)}`,
  )
}

/** What a person is shown. */
export function targetLine({ target, copied: names, removed, error, note }: TargetResult): string {
  if (error !== '') return `target ${target} FAILED: ${error}`
  const parts = [
    `${names.length === 1 ? '1 copy' : `${names.length} copies`} sent and read back`,
    ...(removed.length > 0 ? [`${removed.length} removed`] : []),
    note,
  ]
  return `target ${target}: ${parts.filter((part) => part !== '').join(', ')}`
}

/** The entry of a backup that was taken, whoever took it. */
export function backupTaken(actor: Actor, { name, bytes, envelopes }: BackupResult): Change {
  return audited(actor, 'backup.succeeded', name, { bundle: name, bytes, opened: envelopes.opened, envelopes: envelopes.total })
}

export async function verifyBackupJob(parts: BackupParts, store: Store, run: JobRun): Promise<void> {
  const bundle = run.job.subject
  const result = await told(
    store,
    run.job.requested_by,
    { event: 'backup.unverified', subject: bundle, data: { bundle }, signal: run.signal },
    () => verifyListed(withSteps(parts, run), { bundle, level: 'full', acceptForeign: false }),
  )
  await run.step(`opened ${formatCount(result.envelopes.opened)} of ${plural(result.envelopes.total, 'envelope')}; signature good`)
  await run.finish([audited(run.job.requested_by, 'backup.verified', bundle, { bundle, opened: result.envelopes.opened })])
}

export async function runDrillJob(parts: BackupParts, store: Store, run: JobRun): Promise<void> {
  const input = { bundle: undefined, identities: await parts.host.identities(), acceptForeign: false }
  const report = await told(
    store,
    run.job.requested_by,
    { event: 'drill.failed', subject: run.job.subject, signal: run.signal },
    async () => {
      const { report: made } = await runDrill(withSteps(parts, run), store, input, run.signal)
      if (made.outcome === 'failed') throw new AppError('verification-failed', `the drill failed: ${made.failure}`)
      return made
    },
  )
  await run.step(`passed: restored in ${formatDuration(report.recovery_ms)}`)
  await run.finish([drillPassed(run.job.requested_by, report)])
}

/** The entry of a drill that passed, whoever ran it. */
export function drillPassed(actor: Actor, { id, bundle, recovery_ms }: DrillReport): Change {
  return audited(actor, 'drill.passed', id, { bundle, recovery_ms })
}

/** A failure is written into the audit log as well, from where people are told; that another run is under way, or this one was told to stop, is none. */
export async function told<T>(
  store: Store,
  actor: Actor,
  failure: { event: string; subject: string; data?: Record<string, unknown>; signal: AbortSignal },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isAppError(error, 'locked') || failure.signal.aborted) throw error
    const entry = audited(actor, failure.event, failure.subject, { ...failure.data, error: messageOf(error) })
    await store.commit([entry]).catch(() => {})
    throw error
  }
}

/** Every phase becomes a step. A step that cannot be written down does not end the work. */
function withSteps(parts: BackupParts, run: JobRun): BackupParts {
  let phase = ''
  return {
    ...parts,
    progress(progress) {
      if (progress.phase === phase) return
      phase = progress.phase
      void run.step(phase).catch(() => {})
    },
  }
}
