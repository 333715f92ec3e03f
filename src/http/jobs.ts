import { z } from 'zod'
import { type Caller, requireVisible } from '../access/roles.ts'
import { audited } from '../audit/audit.ts'
import type { Certificate } from '../certificates/collections.ts'
import { AppError } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'
import type { Job } from '../jobs/job.ts'
import type { Where } from '../store/store.ts'
import type { HttpParts } from './parts.ts'
import { idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { jobReply } from './schemas.ts'

export const jobRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/jobs',
    summary: 'list jobs, newest first',
    tag: 'jobs',
    role: 'viewer',
    query: z.strictObject({
      ...pageQuery,
      state: z.enum(['queued', 'running', 'succeeded', 'dead']).optional(),
      subject: z.string().max(100).optional(),
    }),
    reply: pageOf(jobReply),
    async handle({ parts, query }) {
      const where: Where = {
        ...(query.state === undefined ? {} : { state: query.state }),
        ...(query.subject === undefined ? {} : { subject: query.subject }),
      }
      const page = await parts.store.find<Job>('jobs', {
        where,
        sort: { field: '_id', direction: 'desc' },
        limit: query.limit,
        after: query.cursor,
      })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/jobs/{id}',
    summary: 'show a job with its steps',
    tag: 'jobs',
    role: 'viewer',
    isForProjects: true,
    params: idParams,
    reply: jobReply,
    async handle({ parts, caller, params }) {
      return visibleJob(parts, caller, params.id)
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/jobs/{id}/events',
    summary: 'a job as it goes, until it ends (server-sent events)',
    tag: 'jobs',
    role: 'viewer',
    isForProjects: true,
    params: idParams,
    reply: 'events',
    async handle({ parts, caller, params, signal }) {
      await visibleJob(parts, caller, params.id)
      return jobEvents(parts, params.id, signal)
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/jobs/{id}/retry',
    summary: 'queue a dead or waiting job again, now',
    tag: 'jobs',
    role: 'operator',
    params: idParams,
    reply: jobReply,
    async handle({ parts, caller, params }) {
      const job = await requireJob(parts, params.id)
      if (job.state === 'running' || job.state === 'succeeded') throw new AppError('conflict', `job "${job._id}" is ${job.state}`)
      const now = parts.clock.now()
      const again: Job = {
        ...job,
        state: 'queued',
        run_at: now,
        attempts: 0,
        finished_at: null,
        steps: [...job.steps, { at: now, text: `queued again by ${caller.actor.name}` }],
      }
      await parts.store.commit([
        { replace: 'jobs', document: again, expect: { state: job.state } },
        audited(caller.actor, 'job.retried', job._id),
      ])
      return again
    },
  }),
]

const lookEveryMs = 250

/** The job whenever it has changed; ends when the job or the client does. */
async function* jobEvents(parts: HttpParts, id: string, signal: AbortSignal) {
  let seen = ''
  while (!signal.aborted) {
    const job = await requireJob(parts, id)
    const shown = jobReply.parse(job)
    const text = JSON.stringify(shown)
    if (text !== seen) yield shown
    seen = text
    if (job.state === 'succeeded' || job.state === 'dead') return
    await sleep(lookEveryMs, signal)
  }
}

/** A job is of the project that its certificate is of; what is about no certificate is of none. @throws AppError `not-found` */
async function visibleJob(parts: HttpParts, caller: Caller, id: string): Promise<Job> {
  const job = await requireJob(parts, id)
  const certificate = caller.projectId && (await parts.store.get<Certificate>('certificates', job.subject))
  requireVisible(caller, certificate ? certificate.project_id : '', `job "${id}"`)
  return job
}

async function requireJob(parts: HttpParts, id: string): Promise<Job> {
  const job = await parts.store.get<Job>('jobs', id)
  if (job === undefined) throw new AppError('not-found', `there is no job "${id}"`)
  return job
}
