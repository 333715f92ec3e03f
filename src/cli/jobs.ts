import { AppError } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'
import { type Command, operand } from './command.ts'
import type { Context } from './context.ts'
import { table } from './output.ts'

export interface ShownJob {
  _id: string
  kind: string
  subject: string
  state: 'queued' | 'running' | 'succeeded' | 'dead'
  attempts: number
  error: string
  created_at: string
  steps: { at: string; text: string }[]
}

const pollMs = 200

export const commands: Command[] = [
  {
    name: 'job list',
    summary: 'list jobs, newest first',
    options: {
      state: { type: 'string', value: 'STATE', help: 'queued, running, succeeded or dead' },
      limit: { type: 'string', value: 'N', help: 'at most N (50)' },
    },
    examples: ['job list', 'job list --state dead'],
    async run(context, args) {
      const query = new URLSearchParams()
      for (const name of ['state', 'limit']) {
        const value = args.text(name)
        if (value !== undefined) query.set(name, value)
      }
      const { items } = await context.api<{ items: ShownJob[] }>('GET', `/api/v1/jobs?${query}`)
      const rows = items.map((job) => [job._id, job.kind, job.state, job.created_at.slice(0, 19), job.error.slice(0, 60)])
      context.out.summary(
        { jobs: items },
        items.length === 0 ? ['no job'] : table([['job', 'kind', 'state', 'made', 'error'], ...rows]),
      )
    },
  },
  {
    name: 'job show',
    summary: 'show a job step by step',
    operands: 'JOB',
    options: { follow: { type: 'boolean', help: 'wait for its end and show steps as they come' } },
    examples: ['job show 01k9x5n0k8v7r9t2', 'job show 01k9x5n0k8v7r9t2 --follow'],
    async run(context, args) {
      const id = operand(args, 0, 'JOB')
      if (args.flag('follow')) return followJob(context, id)
      const job = await fetchJob(context, id)
      context.out.summary(job, [
        `${job.kind} of ${job.subject}: ${job.state}, ${job.attempts} attempts`,
        ...job.steps.map(stepLine),
      ])
    },
  },
  {
    name: 'job retry',
    summary: 'queue a dead or waiting job again, now',
    operands: 'JOB',
    examples: ['job retry 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const job = await context.api<ShownJob>('POST', `/api/v1/jobs/${encodeURIComponent(operand(args, 0, 'JOB'))}/retry`)
      context.out.summary(job, [`job ${job._id} is queued again`])
    },
  },
]

/** Shows steps as they come. @throws AppError `failed` the job failed, or waits for another attempt */
export async function followJob(context: Context, id: string): Promise<void> {
  let shown = 0
  for (;;) {
    const job = await fetchJob(context, id)
    for (const step of job.steps.slice(shown)) context.out.note(stepLine(step))
    shown = job.steps.length
    if (job.state === 'succeeded') return context.out.summary(job, [`job ${id} succeeded`])
    if (job.state === 'dead' || job.error !== '') {
      throw new AppError(
        'failed',
        `job ${id} ${job.state === 'dead' ? 'is dead' : 'failed and waits for another attempt'}: ${job.error}`,
        { hint: `"certautopilot job retry ${id}" tries again now` },
      )
    }
    context.signal.throwIfAborted()
    await sleep(pollMs, context.signal)
  }
}

function fetchJob(context: Context, id: string): Promise<ShownJob> {
  return context.api<ShownJob>('GET', `/api/v1/jobs/${encodeURIComponent(id)}`)
}

function stepLine(step: { at: string; text: string }): string {
  return `${step.at.slice(11, 19)}  ${step.text}`
}
