import type { App, Log } from './app.ts'
import { noteFailure } from './certificates/note-failure.ts'
import { jobHandlers } from './job-handlers.ts'
import type { Job } from './jobs/job.ts'
import { runScheduler } from './jobs/scheduler.ts'
import { runWorker } from './jobs/worker.ts'
import { schedulesOf } from './schedules.ts'

export const serveModes = ['all', 'api', 'worker', 'scheduler'] as const
/** Which parts of the service a process is. */
export type ServeMode = (typeof serveModes)[number]

/** Runs jobs and what is due by the clock, as far as `mode` has them, until `signal` aborts. */
export async function runLoops(app: App, mode: ServeMode, log: Log, signal: AbortSignal): Promise<void> {
  const { store, clock, config, instance: owner } = app
  const worker = {
    store,
    clock,
    handlers: jobHandlers(app),
    log,
    mayWork: app.mayAct,
    owner,
    leaseMs: config['worker.lease_seconds'] * 1000,
    concurrency: config['worker.concurrency'],
    onFailure: (job: Job) => noteFailure(app.certificates, job),
  }
  const scheduler = { store, clock, owner, schedules: schedulesOf(app, signal), log }
  await Promise.all([
    mode === 'all' || mode === 'worker' ? runWorker(worker, signal) : undefined,
    mode === 'all' || mode === 'scheduler' ? runScheduler(scheduler, signal) : undefined,
  ])
}
