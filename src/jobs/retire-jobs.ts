import { findAll, type Store } from '../store/store.ts'
import type { Job, JobState } from './job.ts'

/** Puts jobs that ran in a life of the database before this one back into the queue. */
export async function requeueJobs(store: Store, reason: string, now: Date): Promise<void> {
  const jobs = await Array.fromAsync(findAll<Job>(store, 'jobs', { where: { state: 'running' } }))
  for (const job of jobs) {
    const queued: Job = { ...job, state: 'queued', run_at: now, lease_owner: '', steps: [...job.steps, { at: now, text: reason }] }
    await store.commit([{ replace: 'jobs', document: queued }])
  }
}

/** Ends jobs that belong to a life of the database before this one. @returns how many */
export async function retireJobs(store: Store, states: readonly JobState[], reason: string, now: Date): Promise<number> {
  const jobs = await Array.fromAsync(findAll<Job>(store, 'jobs', { where: { state: { in: states } } }))
  for (const job of jobs) {
    const retired: Job = {
      ...job,
      state: 'dead',
      error: reason,
      finished_at: now,
      lease_owner: '',
      steps: [...job.steps, { at: now, text: reason }],
    }
    await store.commit([{ replace: 'jobs', document: retired }])
  }
  return jobs.length
}
