import { AppError, type ErrorCode, isAppError, messageOf } from '../core/app-error.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Store } from '../store/store.ts'
import { type Job, retryLadderMs } from './job.ts'

/** What a handler is given beside its job. */
export interface JobRun {
  job: Job
  signal: AbortSignal
  /** Writes down what is being done. @throws AppError `conflict` the lease was lost */
  step(text: string): Promise<void>
}

export type JobHandler = (run: JobRun) => Promise<void>

export interface WorkerParts {
  store: Store
  clock: Clock
  handlers: Readonly<Record<string, JobHandler>>
  log: { warn(data: object, message: string): void; info(data: object, message: string): void }
  /** Whether work may be taken now; in safe mode it may not. */
  mayWork(): Promise<boolean>
  owner: string
  leaseMs: number
  concurrency: number
  /** Hears of every failed attempt, as the job stands afterwards. */
  onFailure?(job: Job): Promise<void>
}

/** Whether another attempt can help. The others are dead at once: they need a person. */
const isRetryable = {
  failed: true,
  usage: false,
  config: false,
  'not-found': false,
  exists: false,
  conflict: true,
  locked: true,
  unauthenticated: false,
  forbidden: false,
  throttled: true,
  'safe-mode': true,
  'wrong-identity': false,
  'verification-failed': false,
  'nothing-verified': false,
  'keys-do-not-fit': false,
  corrupt: false,
  'archive-foreign': false,
  'archive-version': false,
  'archive-truncated': false,
  'archive-checksum': false,
  'archive-oversized': false,
  'too-new': false,
  'not-ours': false,
  preflight: true,
  'post-check-failed': false,
  unreachable: true,
  'refused-by-ca': true,
  'refused-by-dns': true,
  interrupted: true,
} as const satisfies Record<ErrorCode, boolean>

const idleMs = 250

/** Takes and runs jobs, several at once, until `signal` aborts; then waits for the ones that run. */
export async function runWorker(parts: WorkerParts, signal: AbortSignal): Promise<void> {
  const running = new Set<Promise<void>>()
  while (!signal.aborted) {
    if (running.size >= parts.concurrency) {
      await Promise.race(running)
      continue
    }
    const job = await takeNext(parts).catch((error) => {
      parts.log.warn({ error: messageOf(error) }, 'the worker could not take a job')
      return undefined
    })
    if (job === undefined) {
      await sleep(idleMs, signal)
      continue
    }
    const run = perform(parts, job, signal).finally(() => running.delete(run))
    running.add(run)
  }
  await Promise.all(running)
}

/** Runs one job if one is due. @returns whether there was one */
export async function runNext(parts: WorkerParts, signal: AbortSignal): Promise<boolean> {
  const job = await takeNext(parts)
  if (job !== undefined) await perform(parts, job, signal)
  return job !== undefined
}

async function takeNext(parts: WorkerParts): Promise<Job | undefined> {
  if (!(await parts.mayWork())) return undefined
  return (await claim(parts, 'queued', 'run_at')) ?? (await claim(parts, 'running', 'lease_expires_at'))
}

function claim({ store, clock, owner, leaseMs }: WorkerParts, state: string, dueField: 'run_at' | 'lease_expires_at') {
  const now = clock.now()
  return store.claim<Job>(
    'jobs',
    { where: { state, [dueField]: { lte: now } }, sort: { field: dueField, direction: 'asc' } },
    { state: 'running', lease_owner: `${owner} ${newId()}`, lease_expires_at: new Date(now.getTime() + leaseMs) },
  )
}

async function perform(parts: WorkerParts, claimed: Job, signal: AbortSignal): Promise<void> {
  let job: Job = { ...claimed, attempts: claimed.attempts + 1 }
  const save = async (next: Job) => {
    await parts.store.commit([{ replace: 'jobs', document: next, expect: { lease_owner: claimed.lease_owner, state: 'running' } }])
    job = next
  }
  const step = (text: string) =>
    save({ ...job, steps: [...job.steps, { at: parts.clock.now(), text }], lease_expires_at: leaseEnd(parts) })
  const heartbeat = setInterval(() => void save({ ...job, lease_expires_at: leaseEnd(parts) }).catch(() => {}), parts.leaseMs / 3)
  try {
    if (job.attempts > retryLadderMs.length + 1)
      throw new AppError('verification-failed', 'every attempt so far ended with its worker')
    await step(`attempt ${job.attempts} on ${parts.owner}`)
    const handler = parts.handlers[job.kind]
    if (handler === undefined) throw new AppError('usage', `no handler for jobs of kind "${job.kind}"`)
    await handler({ job, signal, step })
    clearInterval(heartbeat)
    await save(finished(job, 'succeeded', parts.clock.now(), 'done'))
  } catch (error) {
    clearInterval(heartbeat)
    await save(afterFailure(job, error, parts.clock.now()))
      .then(() => parts.onFailure?.(job))
      .catch((lost) => parts.log.warn({ job: job._id, error: messageOf(lost) }, 'the lease of a job was lost'))
    parts.log.warn({ job: job._id, kind: job.kind, error: messageOf(error) }, 'a job failed')
  } finally {
    clearInterval(heartbeat)
  }
}

function afterFailure(job: Job, error: unknown, now: Date): Job {
  const text = isAppError(error) && error.hint !== undefined ? `${error.message} (${error.hint})` : messageOf(error)
  const ladderMs = isAppError(error) && !isRetryable[error.code] ? undefined : retryLadderMs[job.attempts - 1]
  if (ladderMs === undefined) return { ...finished(job, 'dead', now, `failed: ${text}`), error: text }
  const run_at = new Date(now.getTime() + Math.max(ladderMs, askedWaitMs(error)))
  const steps = [...job.steps, { at: now, text: `failed: ${text}; next attempt at ${run_at.toISOString()}` }]
  return { ...job, state: 'queued', run_at, error: text, steps, lease_owner: '' }
}

/** Whoever throttles may say for how long. */
function askedWaitMs(error: unknown): number {
  return isAppError(error, 'throttled') ? Number(error.details?.retry_after_ms ?? 0) : 0
}

function finished(job: Job, state: 'succeeded' | 'dead', now: Date, text: string): Job {
  return { ...job, state, error: '', finished_at: now, lease_owner: '', steps: [...job.steps, { at: now, text }] }
}

function leaseEnd({ clock, leaseMs }: WorkerParts): Date {
  return new Date(clock.now().getTime() + leaseMs)
}
