import type { Actor } from '../audit/audit.ts'
import { hourMs, minuteMs } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Change, CollectionSpec, StoredDocument } from '../store/store.ts'

export type JobState = 'queued' | 'running' | 'succeeded' | 'dead'

export interface JobStep {
  at: Date
  text: string
}

/** Work that a worker does with retries, visible step by step. */
export interface Job extends StoredDocument {
  kind: string
  /** The document that the job is about. */
  subject: string
  state: JobState
  run_at: Date
  attempts: number
  lease_owner: string
  lease_expires_at: Date
  steps: JobStep[]
  error: string
  requested_by: Actor
  created_at: Date
  finished_at: Date | null
}

/** One process of the service, as long as it lives; `_id` is its name in leases. */
export interface Heartbeat extends StoredDocument {
  mode: string
  host: string
  pid: number
  version: string
  kek_version: number
  started_at: Date
  lease_until: Date
  /** The write pause that it has acknowledged; empty when there is none. */
  paused_for: string
  expires_at: Date
}

export const jobCollections: CollectionSpec[] = [
  {
    name: 'jobs',
    indexes: [
      { name: 'queue', key: { state: 1, run_at: 1, _id: 1 } },
      { name: 'leases', key: { state: 1, lease_expires_at: 1, _id: 1 } },
      { name: 'subject', key: { subject: 1, state: 1 } },
      { name: 'kind', key: { kind: 1, state: 1 } },
    ],
  },
  { name: 'locks', indexes: [] },
  { name: 'heartbeats', indexes: [{ name: 'expiry', key: { expires_at: 1 }, expireAfterSeconds: 3600 }] },
]

/** How long to wait after the first, second, ... failed attempt. After the last one the job is dead. */
export const retryLadderMs: readonly number[] = [5 * minuteMs, 15 * minuteMs, hourMs, 4 * hourMs, 12 * hourMs, 24 * hourMs]

const never = new Date(0)

/** A new job and the change that queues it, to be committed with whatever causes it. */
export function queuedJob(kind: string, subject: string, requestedBy: Actor, now: Date): { job: Job; change: Change } {
  const job: Job = {
    _id: newId(now.getTime()),
    kind,
    subject,
    state: 'queued',
    run_at: now,
    attempts: 0,
    lease_owner: '',
    lease_expires_at: never,
    steps: [{ at: now, text: 'queued' }],
    error: '',
    requested_by: requestedBy,
    created_at: now,
    finished_at: null,
  }
  return { job, change: { insert: 'jobs', document: job } }
}
