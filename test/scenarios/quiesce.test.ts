import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { type AuditEntry, audited, hostActor } from '../../src/audit/audit.ts'
import type { CatalogueEntry } from '../../src/backup/catalogue.ts'
import { openPointInTime } from '../../src/backup/point-in-time.ts'
import type { Certificate } from '../../src/certificates/collections.ts'
import type { Job } from '../../src/jobs/job.ts'
import { findAll } from '../../src/store/store.ts'
import { startMongoProxy } from '../mongo-proxy.ts'
import { type ReplicaSet, startReplicaSet } from '../mongod.ts'
import { type MongoServer, needs, startMongo } from '../servers.ts'
import { end, mongoEnvironment, newHost, startProcess, type TestHost, until } from '../test-host.ts'

const quiesced = { CERTAUTOPILOT_BACKUP_CONSISTENCY: 'quiesced' }

let server: MongoServer | undefined
after(() => server?.[Symbol.asyncDispose]())
async function mongo(): Promise<Record<string, string>> {
  server ??= await startMongo()
  return mongoEnvironment(server.uri)
}

const replicaSets = new Map<number, ReplicaSet>()
after(async () => {
  for (const set of replicaSets.values()) await set[Symbol.asyncDispose]()
})
async function mongod(members: 1 | 3): Promise<Record<string, string>> {
  const set = replicaSets.get(members) ?? (await startReplicaSet(members))
  replicaSets.set(members, set)
  return mongoEnvironment(set.uri)
}

const engines = [
  { engine: 'embedded', environment: async () => ({}), skip: false as const },
  { engine: 'mongodb', environment: mongo, skip: needs('SECANTUSD').skip },
  { engine: 'mongod', environment: () => mongod(1), skip: needs('MONGOD').skip },
  { engine: 'mongod of three members', environment: () => mongod(3), skip: needs('MONGOD').skip },
]

for (const { engine, environment, skip } of engines) {
  for (const method of ['snapshot', 'quiesced']) {
    test(`${engine}, ${method}: what was acknowledged before is in the bundle, nothing after, and no gap`, { skip }, async () => {
      await using host = await newHost({ ...(await environment()), CERTAUTOPILOT_BACKUP_CONSISTENCY: method })
      await host.furnish(5)
      const children = engine !== 'embedded' ? ['worker', 'scheduler'].map((mode) => startProcess(host, mode)) : []
      const writers = startWriters(host, 4)
      await pause(500)
      const startedAt = performance.now()
      const { json } = await host.ok('backup', 'create', '--json')
      const endedAt = performance.now()
      await pause(500)
      const written = await writers.stop()
      const shown = await host.ok('backup', 'show', String(json.bundle), '--json')
      const { point_in_time: point } = shown.json.manifest as { point_in_time: Record<string, unknown> }
      assert.equal(point.method, method)
      assert.equal(point.is_proven, true)
      if (method === 'snapshot' && engine.startsWith('mongod of')) assert.equal(point.way, 'snapshot session')
      assert.ok(String(point.read_until) >= String(point.taken_at))
      if (engine !== 'embedded') assert.match(String(point.cluster_time), /^\d+:\d+$/)
      for (const child of children) await end(child, 'SIGTERM')

      const names = await restoredNames(host, String(json.bundle))
      assertBounds(written, names, { startedAt, endedAt, takenAt: Date.parse(String(point.taken_at)) - performance.timeOrigin })
      const refused = written.filter(({ isAcknowledged }) => !isAcknowledged)
      if (method === 'snapshot') assert.equal(refused.length, 0, 'a snapshot stops nobody')
      else assertPaused(written, names)
    })
  }

  test(`${engine}: "backup quiesce" passes the exit code on, and reads go on meanwhile`, { skip }, async () => {
    await using host = await newHost(await environment())
    await host.furnish(1)
    assert.equal((await host.cli('backup', 'quiesce', '--', 'sh', '-c', 'exit 7')).exitCode, 7)
    assert.equal((await host.cli('backup', 'quiesce', '--', 'sh', '-c', 'kill -9 $$')).exitCode, 137)
    assert.equal((await host.cli('backup', 'quiesce', '--', 'no-such-program')).exitCode, 2)
    assert.equal((await host.cli('backup', 'quiesce')).exitCode, 2)

    // Ends with the process that started it, which is killed below.
    const held = host.spawn(['backup', 'quiesce', '--', 'sh', '-c', 'exec tail --pid=$PPID -f /dev/null'])
    await said(held, 'nobody writes since')
    assert.equal((await send(host, 'GET', '/api/v1/certificates')).status, 200)
    assert.equal((await send(host, 'GET', '/metrics')).status, 200)
    const answer = await send(host, 'POST', '/api/v1/projects', { name: 'meanwhile' })
    assert.equal(answer.status, 503)
    assert.match(answer.body, /urn:certautopilot:error:paused/)
    assert.ok(Number(answer.headers['retry-after']) > 0)
    const second = await host.cli('backup', 'quiesce', '--', 'true')
    assert.equal(second.exitCode, 11, second.stderr)
    assert.match(second.stderr, /paused already, by "backup quiesce on/)

    const killedAt = performance.now()
    await end(held, 'SIGKILL')
    await until(async () => (await send(host, 'POST', '/api/v1/projects', { name: 'afterwards' })).status === 201, 'writers go on')
    assert.ok(performance.now() - killedAt < 20_000, 'within the lease of a killed pause')
    await host.ok('backup', 'quiesce', '--', 'true')
  })

  test(`${engine}: a pause has an end, whatever is done in it; a service that restarts in one starts`, { skip }, async () => {
    await using host = await newHost({ ...(await environment()), CERTAUTOPILOT_BACKUP_MAX_WRITE_PAUSE_SECONDS: '2' })
    await host.furnish(1)
    const held = host.spawn(['backup', 'quiesce', '--', 'sleep', '5'])
    await said(held, 'nobody writes since')
    const ended = once(held, 'close')
    await host.stop('SIGKILL')
    await host.start()
    const [exitCode] = (await ended) as [number]
    assert.equal(exitCode, 24, 'what was done while writers went on is no success')
    assert.equal((await send(host, 'POST', '/api/v1/projects', { name: 'afterwards' })).status, 201)
  })

  test(`${engine}: a pause that stood still for longer than its lease does not count`, { skip }, async () => {
    await using host = await newHost(await environment())
    await host.furnish(1)
    const held = host.spawn(['backup', 'quiesce', '--', 'sleep', '14'])
    await said(held, 'nobody writes since')
    held.kill('SIGSTOP')
    const takesChanges = async () => (await send(host, 'POST', '/api/v1/projects', { name: 'meanwhile' })).status === 201
    await until(takesChanges, 'writers go on')
    held.kill('SIGCONT')
    const [exitCode] = (await once(held, 'close')) as [number]
    assert.equal(exitCode, 24, 'the command ended well, but not in a pause')
  })

  test(`${engine}: a dump that would outlive the longest pause is refused before anybody pauses`, { skip }, async () => {
    await using host = await newHost({ ...(await environment()), ...quiesced })
    await host.ok('setup')
    await host.withParts(async (parts, store) => {
      const manifest = { collections: [{ bytes: 1_000_000_000 }] }
      const previous = { sidecar: { manifest }, state: { duration_ms: 100_000 } } as unknown as CatalogueEntry
      await assert.rejects(openPointInTime(parts, store, previous, new AbortController().signal), {
        code: 'preflight',
        message: 'the dump will take about 2 min 5 s, writers pause for 1 min 0 s at most',
        hint: 'raise backup.max_write_pause_seconds in config.yaml to 250',
      })
    })
  })

  test(`${engine}: a backup says so when something was written all the same`, { skip }, async () => {
    await using host = await newHost({ ...(await environment()), ...quiesced })
    await host.furnish(1)
    await host.stop()
    await host.withParts(async (parts, store) => {
      await using point = await openPointInTime(parts, store, undefined, new AbortController().signal)
      assert.equal(point.method, 'quiesced')
      await store.commit([audited(hostActor, 'test.event', 'behind the gate')])
      await assert.rejects(point.proveAndRelease(), { code: 'preflight' })
    })
  })
}

test('mongod of three members: a secondary is read, and holds what the primary has acknowledged', needs('MONGOD'), async () => {
  const environment = await mongod(3)
  for (const consistency of ['snapshot', 'quiesced']) {
    await using host = await newHost({
      ...environment,
      CERTAUTOPILOT_DATABASE_NAME: `secondary-${consistency}`,
      CERTAUTOPILOT_BACKUP_READ_PREFERENCE: 'secondary',
      CERTAUTOPILOT_BACKUP_CONSISTENCY: consistency,
    })
    await host.furnish(20)
    const { json } = await host.ok('backup', 'create', '--json')
    assert.equal((json.counts as Record<string, number>).certificates, 20)
    assert.equal(await methodOf(host, json), consistency)
    await host.ok('backup', 'verify', String(json.bundle))
  }
})

describe('several processes on one MongoDB', needs('SECANTUSD'), () => {
  test('one that does not stop writing fails the backup by name; one that is gone does not', async () => {
    await using host = await newHost({ ...(await mongo()), ...quiesced, CERTAUTOPILOT_BACKUP_PAUSE_WAIT_SECONDS: '1' })
    await host.furnish(1)
    const worker = startProcess(host, 'worker')
    await until(async () => (await send(host, 'GET', '/api/v1/cluster')).body.includes('"worker"'), 'the worker lives')
    worker.kill('SIGSTOP')
    const stuck = await host.cli('backup', 'create')
    assert.equal(stuck.exitCode, 24, stuck.stderr)
    assert.match(stuck.stderr, new RegExp(`-${worker.pid}-.*did not stop writing within 1.0 s`))
    assert.equal((await host.bundles()).length, 0)
    await until(async () => (await send(host, 'POST', '/api/v1/projects', { name: 'goes-on' })).status === 201, 'writers go on')
    worker.kill('SIGCONT')
    await end(worker, 'SIGTERM')
    await host.ok('backup', 'create')
  })

  test('a process that is told to stop in a pause stops', async () => {
    await using host = await newHost(await mongo())
    await host.furnish(1)
    const children = ['worker', 'scheduler'].map((mode) => startProcess(host, mode))
    await until(async () => (await send(host, 'GET', '/api/v1/cluster')).body.includes('"worker"'), 'the worker lives')
    const held = host.spawn(['backup', 'quiesce', '--', 'sh', '-c', 'exec tail --pid=$PPID -f /dev/null'])
    await said(held, 'nobody writes since')
    const stoppedAt = performance.now()
    await Promise.all(children.map((child) => end(child, 'SIGTERM')))
    await host.stop()
    assert.ok(performance.now() - stoppedAt < 15_000)
    await end(held, 'SIGKILL')
  })

  test('jobs stop between steps, and their effects are there once', async () => {
    await using host = await newHost({ ...(await mongo()), ...quiesced })
    const api = await host.furnish(1)
    const workers = ['worker', 'worker'].map((mode) => startProcess(host, mode))
    for (let n = 0; n < 40; n++)
      await api.request('POST', '/api/v1/certificates', { project: 'default', names: [`job${n}.example.org`] })
    const { json } = await host.ok('backup', 'create', '--json')
    await until(async () => {
      const { body } = await send(host, 'GET', '/api/v1/overview')
      const { jobs } = JSON.parse(body) as { jobs: { queued: number; running: number } }
      return jobs.queued + jobs.running === 0
    }, 'all jobs are done')
    for (const worker of workers) await end(worker, 'SIGTERM')
    await host.stop()
    await host.withStore(async (store) => {
      for await (const job of findAll<Job>(store, 'jobs')) assert.equal(job.state, 'succeeded', `${job.kind}: ${job.error}`)
      const certificates = await Array.fromAsync(findAll<Certificate>(store, 'certificates'))
      const names = certificates.map(({ name }) => name).filter((name) => name.startsWith('job'))
      assert.equal(names.length, 40)
      assert.equal(new Set(names).size, 40, 'each once')
      const issued = await Array.fromAsync(findAll<AuditEntry>(store, 'audit_logs'))
      assert.equal(issued.filter(({ event, data }) => event === 'certificate.issued' && /^job/.test(String(data.name))).length, 40)
    })
    await host.ok('backup', 'verify', String(json.bundle))
  })

  test('a server that gives no snapshot is quiesced; a dump longer than the snapshot as well, or refused beforehand', async () => {
    const settings = await mongo()
    await using proxy = await startMongoProxy((server as MongoServer).port)
    await using host = await newHost({ ...settings, CERTAUTOPILOT_DATABASE_URI: proxy.uri })
    await host.furnish(1)
    proxy.judge = (command) =>
      isSnapshotRead(command)
        ? { answer: { ok: 0, code: 20, codeName: 'IllegalOperation', errmsg: 'no snapshots here' } }
        : undefined
    // Changes are transactions with the same read concern, so the service writes through the server itself.
    const first = await host.cliWith({}, 'backup', 'create', '--json')
    assert.equal(first.exitCode, 0, first.stderr + first.stdout)
    assert.equal(await methodOf(host, first.json), 'quiesced')
    assert.deepEqual(first.json.notes, ['the server gives no snapshot that holds: every writer paused instead'])

    proxy.judge = (command) => (command.dbStats === 1 ? { answer: { ok: 1, dataSize: 1_000_000_000 } } : undefined)
    const short = await host.cli('backup', 'create')
    assert.equal(short.exitCode, 0, short.stderr)
    assert.match(short.stdout, /^snapshot /)
    proxy.judge = (command) => (command.dbStats === 1 ? { answer: { ok: 1, dataSize: 9_600_000_000 } } : undefined)
    const long = await host.cli('backup', 'create')
    assert.equal(long.exitCode, 24, long.stderr)
    assert.match(
      long.stderr,
      /will take about 2 min 30 s, the server holds a snapshot for 1 min 0 s, and writers pause for 1 min 0 s/,
    )
    assert.match(long.stderr, /raise transactionLifetimeLimitSeconds on the server to 300, or backup.max_write_pause_seconds/)
    const refused = await host.cliWith({ CERTAUTOPILOT_BACKUP_CONSISTENCY: 'quiesced' }, 'backup', 'create')
    assert.equal(refused.exitCode, 24, 'also the first backup, and where nothing is tried but a pause')
    assert.match(refused.stderr, /will take about 2 min 30 s, writers pause for 1 min 0 s at most/)
    const paused = await host.cliWith({ CERTAUTOPILOT_BACKUP_MAX_WRITE_PAUSE_SECONDS: '200' }, 'backup', 'create')
    assert.equal(paused.exitCode, 0, paused.stderr)
    assert.match(paused.stdout, /^quiesced /)
  })
})

function isSnapshotRead(command: Record<string, unknown>): boolean {
  const concern = command.readConcern as { level?: string } | undefined
  return command.find === 'certautopilot_marker' && concern?.level === 'snapshot'
}

async function methodOf(host: TestHost, json: Record<string, unknown>): Promise<unknown> {
  const shown = await host.ok('backup', 'show', String(json.bundle), '--json')
  return (shown.json.manifest as { point_in_time: { method: string } }).point_in_time.method
}

/** What one request was told. */
interface Written {
  writer: number
  name: string
  askedAt: number
  answeredAt: number
  isAcknowledged: boolean
}

/** Makes projects as fast as they are taken, several at once, until it is stopped. */
function startWriters(host: TestHost, count: number): { stop(): Promise<Written[]> } {
  let isStopping = false
  const written: Written[] = []
  const write = async (writer: number) => {
    for (let n = 0; !isStopping; n++) {
      const name = `w${writer}-${n}`
      const askedAt = performance.now()
      const { status, body } = await send(host, 'POST', '/api/v1/projects', { name })
      assert.ok(status === 201 || status === 503, `${status} ${body}`)
      written.push({ writer, name, askedAt, answeredAt: performance.now(), isAcknowledged: status === 201 })
    }
  }
  const running = Promise.allSettled(Array.from({ length: count }, (_, writer) => write(writer)))
  return {
    async stop() {
      isStopping = true
      for (const ended of await running) if (ended.status === 'rejected') throw ended.reason
      return written
    },
  }
}

interface Bounds {
  startedAt: number
  endedAt: number
  /** The point in time that the manifest names, to the millisecond. */
  takenAt: number
}

/**
 * Everything that was acknowledged before the point in time is in, nothing that was asked for after the run is, and it is one cut through
 * all writers: what was acknowledged before anything that is in was asked for is in too.
 */
function assertBounds(written: readonly Written[], names: ReadonlySet<string>, { startedAt, endedAt, takenAt }: Bounds): void {
  assert.ok(takenAt > startedAt && takenAt < endedAt, `taken at ${takenAt}, between ${startedAt} and ${endedAt}`)
  const before = written.filter(({ isAcknowledged, answeredAt }) => isAcknowledged && answeredAt < takenAt)
  const later = written.filter(({ askedAt }) => askedAt > endedAt)
  assert.ok(before.length > 10 && later.length > 10, `the writers were slow: ${before.length} before, ${later.length} after`)
  for (const { name } of before) assert.ok(names.has(name), `${name} was acknowledged before and is missing`)
  for (const { name } of later) assert.ok(!names.has(name), `${name} was made afterwards and is there`)
  const newestThere = Math.max(...written.filter(({ name }) => names.has(name)).map(({ askedAt }) => askedAt))
  for (const { name, isAcknowledged, answeredAt } of written)
    if (isAcknowledged && answeredAt < newestThere) assert.ok(names.has(name), `${name} is missing, and something later is there`)
  for (const writer of new Set(written.map((entry) => entry.writer))) {
    const isThere = written.filter((entry) => entry.writer === writer && entry.isAcknowledged).map(({ name }) => names.has(name))
    assert.equal(isThere.lastIndexOf(true), isThere.filter(Boolean).length - 1, `writer ${writer}: a gap`)
  }
}

/** While the writers pause, each is refused: exactly what was acknowledged until then is in. */
function assertPaused(written: readonly Written[], names: ReadonlySet<string>): void {
  for (const writer of new Set(written.map((entry) => entry.writer))) {
    const own = written.filter((entry) => entry.writer === writer)
    const firstRefusal = own.findIndex(({ isAcknowledged }) => !isAcknowledged)
    assert.ok(firstRefusal > 0, `writer ${writer} was never refused`)
    for (const [at, { name, isAcknowledged }] of own.entries())
      assert.equal(names.has(name), isAcknowledged && at < firstRefusal, `${name}, ${at} of ${firstRefusal}`)
  }
}

/** Names of the projects in a bundle, by restoring it somewhere else. */
async function restoredNames(host: TestHost, bundle: string): Promise<Set<string>> {
  await using other = await newHost()
  await other.ok('restore', 'apply', join(host.paths.backups, bundle), '--identity', host.paths.recoveryKit)
  return other.withStore(async (store) => {
    const names = new Set<string>()
    for await (const project of findAll<{ _id: string; name: string }>(store, 'projects')) names.add(project.name)
    return names
  })
}

interface Answer {
  status: number
  headers: Record<string, unknown>
  body: string
}

function send(host: TestHost, method: string, path: string, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const outgoing = request({ socketPath: host.paths.adminSocket, method, path, headers, agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }))
    })
    outgoing.on('error', reject)
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function said(child: ChildProcess, text: string): Promise<void> {
  let output = ''
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await until(async () => output.includes(text) || child.exitCode !== null, text)
  assert.ok(output.includes(text), `it ended without "${text}": ${output}`)
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
