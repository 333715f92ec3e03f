import { messageOf } from '../core/app-error.ts'
import { type Clock, sleep } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import { dropLease, holdLease } from './lease.ts'

export interface Schedule {
  name: string
  everyMs: number
  /** Not before this long after the start. */
  afterMs?: number
  run(): Promise<void>
}

export interface SchedulerParts {
  store: Store
  clock: Clock
  owner: string
  schedules: readonly Schedule[]
  log: { warn(data: object, message: string): void }
}

const leadershipMs = 30_000
const tickMs = 500
const standbyMs = 5_000

/** Runs what is due, in the one process that holds the lease, until `signal` aborts. */
export async function runScheduler(parts: SchedulerParts, signal: AbortSignal): Promise<void> {
  const startMs = parts.clock.now().getTime()
  const early = parts.schedules.map(
    ({ name, everyMs, afterMs }) => [name, afterMs === undefined ? 0 : startMs + afterMs - everyMs] as const,
  )
  const lastRuns = new Map<string, number>(early)
  const leadership = { isHeld: await leads(parts) }
  const holding = keepLeadership(parts, leadership, signal)
  while (!signal.aborted) {
    if (leadership.isHeld) await runDue(parts, lastRuns, leadership, signal)
    await sleep(tickMs, signal)
  }
  await holding
  await dropLease(parts.store, 'scheduler', parts.owner).catch(() => {})
}

interface Leadership {
  isHeld: boolean
}

/** The lease is held on while a schedule runs for long. */
async function keepLeadership(parts: SchedulerParts, leadership: Leadership, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(leadership.isHeld ? leadershipMs / 3 : standbyMs, signal)
    if (!signal.aborted) leadership.isHeld = await leads(parts)
  }
}

async function leads({ store, owner, clock, log }: SchedulerParts): Promise<boolean> {
  return holdLease(store, 'scheduler', owner, clock.now(), leadershipMs).catch((error) => {
    log.warn({ error: messageOf(error) }, 'the scheduler could not take its lease')
    return false
  })
}

async function runDue(
  parts: SchedulerParts,
  lastRuns: Map<string, number>,
  leadership: Leadership,
  signal: AbortSignal,
): Promise<void> {
  for (const schedule of parts.schedules) {
    const nowMs = parts.clock.now().getTime()
    if (signal.aborted || !leadership.isHeld || nowMs - (lastRuns.get(schedule.name) ?? 0) < schedule.everyMs) continue
    lastRuns.set(schedule.name, nowMs)
    await schedule
      .run()
      .catch((error) => parts.log.warn({ schedule: schedule.name, error: messageOf(error) }, 'a scheduled task failed'))
  }
}
