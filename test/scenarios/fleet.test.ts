import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { systemActor } from '../../src/audit/audit.ts'
import type { Certificate, IssuedSerial } from '../../src/certificates/collections.ts'
import { type Job, queuedJob } from '../../src/jobs/job.ts'
import { notifyJobKind } from '../../src/notify/fan-out.ts'
import { findAll, type Store } from '../../src/store/store.ts'
import { freePort, startBind, startPebble } from '../acme-servers.ts'
import { needs, startMongo } from '../servers.ts'
import { end, mongoEnvironment, newHost, startProcess, type TestHost, until } from '../test-host.ts'

const concurrency = 4
const quick = { CERTAUTOPILOT_WORKER_LEASE_SECONDS: '2', CERTAUTOPILOT_SCHEDULER_INTERVAL_SECONDS: '1' }

test('embedded: a second service, and a part of one, are refused', async () => {
  await using host = await newHost()
  await host.furnish(0)
  const second = await host.cli('serve')
  assert.equal(second.exitCode, 11)
  assert.match(second.stderr, /the service is running/)
  await host.stop()
  const part = await host.cli('serve', '--mode', 'worker')
  assert.equal(part.exitCode, 24)
  assert.match(part.stderr, /--mode=worker is of no use/)
})

describe('several processes on one MongoDB', needs('SECANTUSD'), () => {
  test('they share 2,000 jobs; killed at random, the effect of each is there exactly once', async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
    const each = 1_000
    const kills = 8
    await using receiver = await startReceiver()
    await using server = await startMongo()
    const settings = { CERTAUTOPILOT_OUTBOUND_ALLOW: '127.0.0.1', CERTAUTOPILOT_WORKER_CONCURRENCY: String(concurrency) }
    await using host = await newHost({ ...mongoEnvironment(server.uri), ...quick, ...settings })
    const api = await host.furnish(1)
    const channel = { name: 'outside', kind: 'webhook', settings: { url: receiver.url }, min_severity: 'critical' }
    const { _id: channelId } = JSON.parse(await api.request('POST', '/api/v1/notification-channels', channel)) as { _id: string }
    await host.withStore(async (store) => {
      await queueMessages(store, channelId, each)
      await copyCertificate(store, each)
    })
    const children = ['worker', 'worker', 'worker', 'scheduler'].map((mode) => startProcess(host, mode))
    const pending = async () => {
      const { jobs: counts } = JSON.parse(await api.request('GET', '/api/v1/overview')) as {
        jobs: { queued: number; running: number }
      }
      return counts.queued + counts.running
    }
    try {
      await until(async () => (await pending()) > 0, 'the first job')
      for (let kill = 0; kill < kills; kill++) {
        await new Promise((resolve) => setTimeout(resolve, 300 + ((seed * (kill + 7)) % 700)))
        const victim = (seed + kill) % 3
        await end(children[victim] as ChildProcess, 'SIGKILL')
        children[victim] = startProcess(host, 'worker')
      }
      await until(async () => (await countDone(host)) >= 2 * each, `2,000 jobs (seed ${seed})`, 400_000)
      const cluster = JSON.parse(await api.request('GET', '/api/v1/cluster')) as {
        processes: { mode: string; is_leader: boolean }[]
      }
      assert.equal(cluster.processes.filter(({ is_leader }) => is_leader).length, 1)
    } finally {
      await Promise.all(children.map((child) => end(child, 'SIGKILL')))
    }
    await host.withStore(async (store) => {
      const perCertificate = new Map<string, number>()
      for await (const { certificate_id } of findAll<IssuedSerial>(store, 'issued_serials'))
        perCertificate.set(certificate_id, (perCertificate.get(certificate_id) ?? 0) + 1)
      let renewed = 0
      for await (const job of findAll<Job>(store, 'jobs')) {
        assert.equal(job.state, 'succeeded', `seed ${seed}: ${job._id} ${job.error}`)
        assert.equal(job.steps.filter(({ text }) => text === 'done').length, 1)
        if (job.kind === notifyJobKind) continue
        assert.equal(perCertificate.get(job.subject), 1, `seed ${seed}: ${job.subject}`)
        renewed++
      }
      assert.equal(renewed, each)
    })
    const deliveries = [...receiver.deliveries.values()]
    assert.equal(deliveries.length, each, `seed ${seed}: every message arrived, each under a key of its own`)
    const repeated = deliveries.reduce((sum, times) => sum + times - 1, 0)
    assert.ok(repeated <= kills * concurrency, `seed ${seed}: ${repeated} were sent again, more than were cut off`)
  })

  test('a frozen worker is overtaken, and what it writes afterwards is refused', { ...needs('PEBBLE', 'NAMED') }, async () => {
    await using bind = await startBind()
    await using pebble = await startPebble({ dnsPort: bind.port })
    await using server = await startMongo()
    const settings = { CERTAUTOPILOT_OUTBOUND_ALLOW: '127.0.0.1', CERTAUTOPILOT_ACME_HTTP01_PORT: String(pebble.httpPort) }
    await using host = await newHost({ ...mongoEnvironment(server.uri), ...quick, ...settings })
    await host.furnish(0)
    const words = ['--ca', pebble.directoryUrl, '--trust-anchors', pebble.trustAnchors, '--agree']
    await host.ok('acme', 'create', 'own', ...words)
    await host.stop()
    const front = startProcess(host, 'api')
    const frozen = startProcess(host, 'worker')
    let other: ChildProcess | undefined
    try {
      let requested = await host.cli('cert', 'issue', 'frozen.example.test', '--acme', 'own', '--no-follow', '--json')
      await until(async () => {
        if (requested.exitCode !== 0)
          requested = await host.cli('cert', 'issue', 'frozen.example.test', '--acme', 'own', '--no-follow', '--json')
        return requested.exitCode === 0
      }, 'the API')
      const id = String(requested.json.job_id)
      const job = async () =>
        (await host.ok('job', 'show', id, '--json')).json as unknown as { state: string; steps: { text: string }[] }
      await until(async () => (await job()).steps.some(({ text }) => text.startsWith('asking the CA to look')), 'the challenge')
      frozen.kill('SIGSTOP')
      other = startProcess(host, 'worker')
      await until(async () => (await job()).state === 'succeeded', 'the other worker')
      frozen.kill('SIGCONT')
      await new Promise((resolve) => setTimeout(resolve, 3_000))
      const { state, steps } = await job()
      assert.deepEqual([state, steps.filter(({ text }) => text === 'done').length], ['succeeded', 1])
      assert.equal(pebble.issued(), 1)
      assert.ok((await end(other, 'SIGTERM')) < 10_500)
    } finally {
      for (const child of [front, frozen, other]) if (child !== undefined) await end(child, 'SIGKILL')
    }
  })

  test('a database that goes away is named by /readyz, and work goes on when it is back', async (t) => {
    const storagePath = await mkdtemp(join(tmpdir(), 'certautopilot-away-'))
    t.after(() => rm(storagePath, { recursive: true, force: true }))
    const port = await freePort()
    const flags = ['--port', String(port), '--sync-on-commit']
    let server = await startMongo({ flags, storagePath })
    await using host = await newHost({ ...mongoEnvironment(server.uri), ...quick })
    try {
      const api = await host.furnish(1)
      const { items } = JSON.parse(await api.request('GET', '/api/v1/certificates')) as { items: { _id: string; serial: string }[] }
      await server[Symbol.asyncDispose]()
      await assert.rejects(api.request('GET', '/readyz'), /not ready: database: MongoDB cannot be reached/)
      server = await startMongo({ flags, storagePath })
      await until(
        async () =>
          api.request('GET', '/readyz').then(
            () => true,
            () => false,
          ),
        'ready again',
      )
      const id = items[0]?._id as string
      await host.ok('cert', 'renew', id)
      const renewed = JSON.parse(await api.request('GET', `/api/v1/certificates/${id}`)) as { serial: string }
      assert.notEqual(renewed.serial, items[0]?.serial)
    } finally {
      await server[Symbol.asyncDispose]()
    }
  })
})

/** Something outside that acts once per key, and remembers how often it was asked to. */
async function startReceiver() {
  const deliveries = new Map<string, number>()
  const server = createServer((request, response) => {
    const key = String(request.headers['idempotency-key'])
    deliveries.set(key, (deliveries.get(key) ?? 0) + 1)
    request.resume().once('end', () => response.end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = async () => void server.close().closeAllConnections()
  return { url: `http://127.0.0.1:${port}/`, deliveries, [Symbol.asyncDispose]: close }
}

/** One message each, for one channel, as the audit log would bring them. */
async function queueMessages(store: Store, channelId: string, count: number): Promise<void> {
  const at = new Date()
  for (let start = 0; start < count; start += 100) {
    await store.commit(
      Array.from({ length: Math.min(100, count - start) }, (_, n) => {
        const id = `message-${String(start + n).padStart(6, '0')}`
        const message = { event: 'test', severity: 'critical', title: id, text: '', data: {}, at, key: id }
        const { change } = queuedJob(notifyJobKind, id, systemActor, at)
        return [{ insert: 'notifications', document: { _id: id, channel_id: channelId, message, created_at: at } }, change]
      }).flat(),
    )
  }
}

/** Makes due copies of the one certificate there is; their keys are made when they are renewed. */
async function copyCertificate(store: Store, count: number): Promise<void> {
  const first = (await store.find<Certificate>('certificates')).items[0] as Certificate
  for (let start = 0; start < count; start += 100) {
    await store.commit(
      Array.from({ length: Math.min(100, count - start) }, (_, n) => {
        const number = String(start + n).padStart(6, '0')
        const copy = { _id: `copy-${number}`, fingerprint: `copy ${number}`, next_renewal_at: new Date(0) }
        return { insert: 'certificates', document: { ...first, ...copy } }
      }),
    )
  }
}

async function countDone(host: TestHost): Promise<number> {
  return host.withStore((store) => store.count('jobs', { state: 'succeeded' }))
}
