import { type Actor, audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { formatBytes, formatCount, formatDuration, plural } from '../core/units.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import type { JobRun } from '../jobs/worker.ts'
import type { Store } from '../store/store.ts'
import { createBackup } from './create-backup.ts'
import type { BackupParts } from './parts.ts'
import { runDrill } from './run-drill.ts'
import { verifyListed } from './verify-listed.ts'

/** What the service itself does about backups, as jobs that a person can follow. */
export const backupJobKinds = { create: 'backup.create', verify: 'backup.verify', drill: 'drill.run' } as const
type BackupJobKind = (typeof backupJobKinds)[keyof typeof backupJobKinds]

/** Queues one, or gives the one that is queued or running already. @param subject the bundle, or `host` */
export async function requestBackupJob(store: Store, actor: Actor, kind: BackupJobKind, subject: string, now: Date): Promise<Job> {
  const { items } = await store.find<Job>('jobs', { where: { subject, state: { in: ['queued', 'running'] } } })
  const pending = items.find((job) => job.kind === kind)
  if (pending !== undefined) return pending
  const { job, change } = queuedJob(kind, subject, actor, now)
  await store.commit([change, audited(actor, `${kind}.requested`, subject, { job: job._id })])
  return job
}

export async function createBackupJob(parts: BackupParts, store: Store, run: JobRun): Promise<void> {
  const result = await createBackup(withSteps(parts, run), store, run.signal)
  const { opened, total } = result.envelopes
  await run.step(`opened ${formatCount(opened)} of ${plural(total, 'envelope')}`)
  await run.step(`published ${result.name}, ${formatBytes(result.bytes)}, in ${formatDuration(result.durationMs)}`)
}

export async function verifyBackupJob(parts: BackupParts, run: JobRun): Promise<void> {
  const result = await verifyListed(withSteps(parts, run), { bundle: run.job.subject, level: 'full', acceptForeign: false })
  await run.step(`opened ${formatCount(result.envelopes.opened)} of ${plural(result.envelopes.total, 'envelope')}; signature good`)
}

export async function runDrillJob(parts: BackupParts, store: Store, run: JobRun): Promise<void> {
  const input = { bundle: undefined, identities: await parts.host.identities(), acceptForeign: false }
  const { report } = await runDrill(withSteps(parts, run), store, input, run.signal)
  if (report.outcome === 'failed') throw new AppError('verification-failed', `the drill failed: ${report.failure}`)
  await run.step(`passed: restored in ${formatDuration(report.recovery_ms)}`)
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
