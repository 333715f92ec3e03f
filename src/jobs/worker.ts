import { AppError, type ErrorCode, isAppError, messageOf } from '../core/app-error.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Change, Store } from '../store/store.ts'
import { type Job, type JobStep, retryLadderMs } from './job.ts'

/** What a handler is given beside its job. */
export interface JobRun {
  job: Job
  signal: AbortSignal
  /** Writes down what is being done. @throws AppError `conflict` the lease was lost */
  step(text: string): Promise<void>
  /**
   * Makes the changes that the job is about and ends it, in one transaction: they are made once, whoever dies when.
   * @throws AppError `conflict` the lease was lost, or a change was not as expected
   */
  finish(changes: readonly Change[]): Promise<void>
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
  paused: true,
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
  'refused-by-channel': true,
  'deploy-failed': true,
  partial: false,
  interrupted: true,
} as const satisfies Record<ErrorCode, boolean>

const idleMs = 250
/** After the database did not answer. */
const troubledMs = 2_000
/** Writers that were paused for so long, or a database that took it, has kept others from extending their leases too. */
const slowMs = 2_000
/** How long a stop waits for jobs to reach a place from which another worker can go on. */
const graceMs = 10_000

/** Takes and runs jobs, several at once, until `signal` aborts; then gives the ones that run a while to stop. */
export async function runWorker(parts: WorkerParts, signal: AbortSignal): Promise<void> {
  const running = new Set<Promise<void>>()
  let takesOverFrom = 0
  while (!signal.aborted) {
    if (running.size >= parts.concurrency) {
      await Promise.race(running)
      continue
    }
    const askedAt = performance.now()
    const job = await takeNext(parts, askedAt > takesOverFrom).catch(async (error) => {
      parts.log.warn({ error: messageOf(error) }, 'the worker could not take a job')
      await sleep(troubledMs, signal)
      return undefined
    })
    if (performance.now() - askedAt > slowMs) takesOverFrom = performance.now() + parts.leaseMs / 2
    if (job === undefined) {
      await sleep(idleMs, signal)
      continue
    }
    const run = perform(parts, job, signal).finally(() => running.delete(run))
    running.add(run)
  }
  const ended = new AbortController()
  await Promise.race([Promise.all(running).then(() => ended.abort()), sleep(graceMs, ended.signal)])
}

/** Runs one job if one is due. @returns whether there was one */
export async function runNext(parts: WorkerParts, signal: AbortSignal): Promise<boolean> {
  const job = await takeNext(parts)
  if (job !== undefined) await perform(parts, job, signal)
  return job !== undefined
}

async function takeNext(parts: WorkerParts, takesOver = true): Promise<Job | undefined> {
  if (!(await parts.mayWork())) return undefined
  const askedAt = performance.now()
  const queued = await claim(parts, 'queued', 'run_at')
  if (queued !== undefined || !takesOver || performance.now() - askedAt > slowMs) return queued
  return claim(parts, 'running', 'lease_expires_at')
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
  const held = new HeldJob(parts, claimed)
  const heartbeat = setInterval(() => void held.extend().catch(() => {}), parts.leaseMs / 3)
  try {
    if (held.job.attempts > retryLadderMs.length + 1)
      throw new AppError('verification-failed', 'every attempt so far ended with its worker')
    await held.step(`attempt ${held.job.attempts} on ${parts.owner}`)
    const handler = parts.handlers[held.job.kind]
    if (handler === undefined) throw new AppError('usage', `no handler for jobs of kind "${held.job.kind}"`)
    await handler({ job: held.job, signal, step: (text) => held.step(text), finish: (changes) => held.finish(changes) })
    if (held.job.state === 'running') await held.finish([])
  } catch (error) {
    if (held.job.state !== 'running') return
    const isStopping = signal.aborted
    await held
      .fail(error, isStopping)
      .then(() => (isStopping ? undefined : parts.onFailure?.(held.job)))
      .catch((lost) => parts.log.warn({ job: claimed._id, error: messageOf(lost) }, 'the lease of a job was lost'))
    parts.log.warn({ job: claimed._id, kind: claimed.kind, error: messageOf(error) }, 'a job failed')
  } finally {
    clearInterval(heartbeat)
  }
}

/** A job while this worker has it. Its writes follow one another, and are refused once another worker has taken the job over. */
class HeldJob {
  job: Job
  readonly #parts: WorkerParts
  #previous: Promise<unknown> = Promise.resolve()

  constructor(parts: WorkerParts, claimed: Job) {
    this.#parts = parts
    this.job = { ...claimed, attempts: claimed.attempts + 1 }
  }

  step(text: string): Promise<void> {
    return this.#save((job) => ({ ...job, steps: [...job.steps, this.#stepNow(text)], lease_expires_at: leaseEnd(this.#parts) }))
  }

  extend(): Promise<void> {
    return this.#save((job) => ({ ...job, lease_expires_at: leaseEnd(this.#parts) }))
  }

  finish(changes: readonly Change[]): Promise<void> {
    return this.#save((job) => finished(job, 'succeeded', this.#parts.clock.now(), 'done'), changes)
  }

  /** What stopped because the process stops is queued again at once, and is not counted as an attempt. */
  fail(error: unknown, isStopping: boolean): Promise<void> {
    const now = this.#parts.clock.now()
    if (!isStopping) return this.#save((job) => afterFailure(job, error, now))
    const steps = (job: Job) => [...job.steps, this.#stepNow('the worker stops; another one goes on')]
    return this.#save((job) => ({
      ...job,
      state: 'queued',
      run_at: now,
      attempts: job.attempts - 1,
      lease_owner: '',
      steps: steps(job),
    }))
  }

  #stepNow(text: string): JobStep {
    return { at: this.#parts.clock.now(), text }
  }

  #save(change: (job: Job) => Job, changes: readonly Change[] = []): Promise<void> {
    const saved = this.#previous.then(async () => {
      const next = change(this.job)
      const expect = { lease_owner: this.job.lease_owner, state: 'running' }
      await this.#parts.store.commit([...changes, { replace: 'jobs', document: next, expect }])
      this.job = next
    })
    this.#previous = saved.catch(() => {})
    return saved
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
