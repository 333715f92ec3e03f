import { Cron } from 'croner'
import { audited, systemActor } from '../audit/audit.ts'
import type { Config } from '../config/schema.ts'
import { isAppError } from '../core/app-error.ts'
import { dayMs, hourMs, minuteMs } from '../core/clock.ts'
import type { Job } from '../jobs/job.ts'
import type { KekInstall } from '../kek/collections.ts'
import { kekVersions } from '../kek/registry.ts'
import { type Change, findAll, type Store, type StoredDocument } from '../store/store.ts'
import { backupJobKinds } from './backup-jobs.ts'
import { type BackupPoint, lastPoint } from './last-point.ts'
import type { BackupParts } from './parts.ts'
import { isVerified } from './retention.ts'

/** A change asks for a backup at most this often; after attempts that failed twice as long for each, up to a day. */
const changeGapMs = 15 * minuteMs

/**
 * Why a backup is due now: its time has come or has passed while nothing ran, or something was made since the last one that a loss would
 * hurt most. @returns undefined when none is due
 */
export async function whyBackupIsDue(parts: BackupParts, store: Store): Promise<string | undefined> {
  const { clock, config, isTimerArmed } = parts
  const now = clock.now()
  const last = await lastPoint(parts, store)
  const jobs = await backupJobs(store)
  const attempted = attemptedAt(jobs[0])
  const planned = isTimerArmed() ? undefined : lastRunTime(config, now)
  if (planned !== undefined && (last?.taken_at ?? never) < planned && attempted < planned)
    return `planned for ${planned.toISOString()}`
  if (last === undefined || now.getTime() - attempted.getTime() < gapMs(jobs, last)) return undefined
  return whatChanged(config, store, last)
}

/** A backup that was planned is overdue when there is none this long afterwards. */
const overdueMs = 2 * hourMs

/** Writes down, once for each planned time, that no backup followed it. @returns whether it did */
export async function noteOverdueBackup(parts: BackupParts, store: Store): Promise<boolean> {
  const now = parts.clock.now()
  const planned = lastRunTime(parts.config, new Date(now.getTime() - overdueMs))
  if (planned === undefined) return false
  const last = await lastPoint(parts, store)
  // Where there never was one, an installation that is older than the plan is late as well.
  const since = last?.taken_at ?? (await store.get<KekInstall>('kek_install', 'install'))?.created_at
  if (since === undefined || since >= planned) return false
  const newest = last?.bundle ?? 'none'
  const entry = audited(systemActor, 'backup.overdue', 'host', { planned: planned.toISOString(), newest })
  return tellOnce(store, `backup overdue ${planned.toISOString()}`, entry)
}

/** Writes down, once for each drill that is due, that none has passed for too long. @returns whether it did */
export async function noteOverdueDrill(parts: BackupParts, store: Store): Promise<boolean> {
  const bundles = (await parts.catalogue.list()).filter(isVerified)
  const passed = (await parts.drills.list()).find(({ report }) => report.outcome === 'passed')?.report.started_at
  // Where there never was one, the time runs from the oldest bundle that there is.
  const since = passed ?? bundles.at(-1)?.sidecar?.manifest.created_at
  if (since === undefined) return false
  const due = new Date(Date.parse(since) + parts.config['drill.interval_days'] * dayMs)
  if (due > parts.clock.now()) return false
  const entry = audited(systemActor, 'drill.overdue', 'host', { due: due.toISOString(), last_passed: passed ?? 'never' })
  return tellOnce(store, `drill overdue ${due.toISOString()}`, entry)
}

async function tellOnce(store: Store, what: string, entry: Change): Promise<boolean> {
  try {
    await store.commit([{ insert: 'locks', document: { _id: `told: ${what}` } }, entry])
    return true
  } catch (error) {
    if (isAppError(error, 'exists')) return false
    throw error
  }
}

/** When the schedule had its last turn; undefined when it is off. */
export function lastRunTime(config: Config, now: Date): Date | undefined {
  return cronOf(config)?.previousRuns(1, now)[0]
}

/** Seconds between two turns of the schedule; undefined when it is off. */
export function expectedIntervalSeconds(config: Config, now: Date): number | undefined {
  const [first, second] = cronOf(config)?.nextRuns(2, now) ?? []
  return first === undefined || second === undefined ? undefined : (second.getTime() - first.getTime()) / 1000
}

function cronOf(config: Config): Cron | undefined {
  const timezone = config['backup.time_zone']
  const text = config['backup.schedule']
  if (text === 'off') return undefined
  return new Cron(text, { mode: '5-part', paused: true, ...(timezone === '' ? {} : { timezone }) })
}

const never = new Date(0)

/** Newest first. */
async function backupJobs(store: Store): Promise<Job[]> {
  const { items } = await store.find<Job>('jobs', { where: { subject: 'host' }, sort: { field: '_id', direction: 'desc' } })
  return items.filter(({ kind }) => kind === backupJobKinds.create)
}

/** One that failed is tried again by its own job, and told of: not again every minute. */
function attemptedAt(job: Job | undefined): Date {
  if (job === undefined) return never
  return job.state === 'succeeded' ? job.created_at : (job.steps.at(-1)?.at ?? job.created_at)
}

function gapMs(jobs: readonly Job[], last: BackupPoint): number {
  const failed = jobs.filter(({ state, created_at }) => state !== 'succeeded' && created_at > last.taken_at)
  const attempts = failed.reduce((sum, job) => sum + job.attempts, 0)
  return Math.min(dayMs, changeGapMs * 2 ** attempts)
}

async function whatChanged(config: Config, store: Store, last: BackupPoint): Promise<string | undefined> {
  const most = config['backup.after_new_keys']
  if (most === 0) return undefined
  const authorities = await Array.fromAsync(findAll<StoredDocument & { created_at: Date }>(store, 'certificate_authorities'))
  if (authorities.length > last.authorities || authorities.some(({ created_at }) => created_at > last.taken_at)) return 'a new CA'
  const versions = await kekVersions(store)
  if (versions.length > last.kek_versions) return 'a new KEK'
  if (versions.some(({ version, state }) => state === 'active' && version !== last.active_kek)) return 'another active KEK'
  const keys = await store.count('certificate_private_keys', { created_at: { gt: last.taken_at } })
  return keys >= most ? `${keys} new private keys` : undefined
}
