import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { auditCollections, systemActor } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { openEmbeddedStore } from '../store/embedded/store.ts'
import type { Store } from '../store/store.ts'
import { type Job, jobCollections, queuedJob, retryLadderMs } from './job.ts'
import { holdLease } from './lease.ts'
import { type JobHandler, runNext, type WorkerParts } from './worker.ts'

async function newStore(t: TestContext): Promise<Store> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-jobs-'))
  const store = openEmbeddedStore({ path: join(folder, 'jobs.db'), databaseName: 'x' })
  t.after(async () => {
    await store.close()
    await rm(folder, { recursive: true })
  })
  await store.prepare([...jobCollections, ...auditCollections])
  return store
}

async function setUp(t: TestContext, handler: JobHandler) {
  const store = await newStore(t)
  const clock = { time: new Date('2026-01-01T00:00:00Z'), now: () => clock.time }
  const log = { info() {}, warn() {} }
  const parts: WorkerParts = {
    store,
    clock,
    handlers: { 'test.job': handler },
    log,
    mayWork: async () => true,
    owner: 'w1',
    leaseMs: 60_000,
    concurrency: 1,
  }
  const { job, change } = queuedJob('test.job', 'subject', systemActor, clock.now())
  await store.commit([change])
  const read = async () => (await store.get<Job>('jobs', job._id)) as Job
  const run = (changes: Partial<WorkerParts> = {}) => runNext({ ...parts, ...changes }, new AbortController().signal)
  const later = (durationMs: number) => {
    clock.time = new Date(clock.time.getTime() + durationMs)
  }
  return { store, read, run, later }
}

test('a job runs once, step by step, to its end', async (t) => {
  const { read, run } = await setUp(t, async ({ step }) => {
    await step('first')
    await step('second')
  })
  assert.equal(await run(), true)
  assert.equal(await run(), false)
  const job = await read()
  assert.equal(job.state, 'succeeded')
  assert.deepEqual(
    job.steps.map((step) => step.text),
    ['queued', 'attempt 1 on w1', 'first', 'second', 'done'],
  )
})

test('a job that fails climbs the retry ladder and is dead after the last rung', async (t) => {
  const { read, run, later } = await setUp(t, async () => {
    throw new AppError('unreachable', 'the CA is down')
  })
  for (const waitMs of retryLadderMs) {
    assert.equal(await run(), true)
    assert.equal((await read()).state, 'queued')
    later(waitMs - 1)
    assert.equal(await run(), false)
    later(1)
  }
  assert.equal(await run(), true)
  const job = await read()
  assert.equal(job.state, 'dead')
  assert.match(job.error, /the CA is down/)
})

test('a failure that another attempt cannot mend is dead at once', async (t) => {
  const { read, run } = await setUp(t, async () => {
    throw new AppError('not-found', 'the certificate is gone')
  })
  await run()
  assert.equal((await read()).state, 'dead')
})

test('a job whose worker died is taken over when the lease ends, and the dead one cannot finish it', async (t) => {
  let release: (() => void) | undefined
  const { read, run, later } = await setUp(t, () => new Promise((resolve) => (release = resolve)))
  const first = run()
  while (release === undefined) await new Promise((resolve) => setTimeout(resolve, 5))
  const stuck = release
  assert.equal(await run({ owner: 'w2' }), false)
  later(60_001)
  const second = run({ owner: 'w2', handlers: { 'test.job': async () => {} } })
  assert.equal(await second, true)
  assert.equal((await read()).state, 'succeeded')
  stuck()
  await first
  const job = await read()
  assert.equal(job.steps.filter((step) => step.text === 'done').length, 1)
  assert.equal(job.attempts, 2)
})

test('in safe mode nothing is taken', async (t) => {
  const { read, run } = await setUp(t, async () => {})
  assert.equal(await run({ mayWork: async () => false }), false)
  assert.equal((await read()).state, 'queued')
})

test('a lease has one holder until it ends', async (t) => {
  const store = await newStore(t)
  const now = new Date()
  const tries = await Promise.all(['a', 'b', 'c'].map((owner) => holdLease(store, 'scheduler', owner, now, 1000)))
  assert.equal(tries.filter(Boolean).length, 1)
  const later = new Date(now.getTime() + 1001)
  assert.equal(await holdLease(store, 'scheduler', 'd', later, 1000), true)
  assert.equal(await holdLease(store, 'scheduler', 'a', later, 1000), false)
})
