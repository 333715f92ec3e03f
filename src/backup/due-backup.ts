import { Cron } from 'croner'
import { audited, systemActor } from '../audit/audit.ts'
import type { Config } from '../config/schema.ts'
import { isAppError } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import type { Job } from '../jobs/job.ts'
import type { Change, Store } from '../store/store.ts'
import { backupJobKinds } from './backup-jobs.ts'
import { type CatalogueEntry, countsOf } from './catalogue.ts'
import type { BackupParts } from './parts.ts'
import { isVerified } from './retention.ts'

/** A change asks for a backup at most this often. */
const changeGapMs = 15 * 60 * 1000

/**
 * Why a backup is due now: its time has come or has passed while nothing ran, or something was made since the last one that a loss would
 * hurt most. @returns undefined when none is due
 */
export async function whyBackupIsDue(parts: BackupParts, store: Store): Promise<string | undefined> {
  const { clock, config, catalogue, isTimerArmed } = parts
  const now = clock.now()
  const newest = (await catalogue.list()).find(({ isDamaged, sidecar }) => !isDamaged && sidecar !== undefined)
  const taken = takenAt(newest)
  const attempted = (await backupJobs(store))[0]?.created_at ?? new Date(0)
  const planned = isTimerArmed() ? undefined : lastRunTime(config, now)
  if (planned !== undefined && taken < planned && attempted < planned) return `planned for ${planned.toISOString()}`
  if (newest === undefined || now.getTime() - attempted.getTime() < changeGapMs) return undefined
  return whatChanged(config, store, newest)
}

/** A backup that was planned is overdue when there is none this long afterwards. */
const overdueMs = 2 * 60 * 60 * 1000

/** Writes down, once for each planned time, that no backup followed it. @returns whether it did */
export async function noteOverdueBackup(parts: BackupParts, store: Store): Promise<boolean> {
  const now = parts.clock.now()
  const planned = lastRunTime(parts.config, new Date(now.getTime() - overdueMs))
  if (planned === undefined) return false
  const newest = (await parts.catalogue.list()).find(isVerified)
  if (newest === undefined || takenAt(newest) >= planned) return false
  // Of several hosts another one may have taken it.
  if ((await backupJobs(store)).some(({ state, created_at }) => state === 'succeeded' && created_at >= planned)) return false
  const entry = audited(systemActor, 'backup.overdue', 'host', { planned: planned.toISOString(), newest: newest.name })
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

function takenAt(entry: CatalogueEntry | undefined): Date {
  return new Date(entry?.sidecar?.manifest.point_in_time.taken_at ?? 0)
}

/** Newest first. One that failed is tried again by its own job, and told of: not again every minute. */
async function backupJobs(store: Store): Promise<Job[]> {
  const { items } = await store.find<Job>('jobs', { where: { subject: 'host' }, sort: { field: '_id', direction: 'desc' } })
  return items.filter(({ kind }) => kind === backupJobKinds.create)
}

async function whatChanged(config: Config, store: Store, newest: CatalogueEntry): Promise<string | undefined> {
  const most = config['backup.after_new_keys']
  if (most === 0 || newest.sidecar === undefined) return undefined
  const before = countsOf(newest.sidecar.manifest)
  for (const [collection, what] of [
    ['certificate_authorities', 'a new CA'],
    ['kek_versions', 'a new KEK'],
  ] as const) {
    if ((await store.count(collection)) > (before[collection] ?? 0)) return what
  }
  const keys = await store.count('certificate_private_keys', { created_at: { gt: takenAt(newest) } })
  return keys >= most ? `${keys} new private keys` : undefined
}
