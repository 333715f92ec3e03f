import { findAll, type Store } from '../store/store.ts'
import type { Job, JobState } from './job.ts'

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
