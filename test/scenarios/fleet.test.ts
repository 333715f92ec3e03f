import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Certificate, IssuedSerial } from '../../src/certificates/collections.ts'
import type { Job } from '../../src/jobs/job.ts'
import { findAll } from '../../src/store/store.ts'
import { freePort, startBind, startPebble } from '../acme-servers.ts'
import { needs, startMongo } from '../servers.ts'
import { mongoEnvironment, newHost, type TestHost } from '../test-host.ts'

const quick = { CERTAUTOPILOT_WORKER_LEASE_SECONDS: '2', CERTAUTOPILOT_SCHEDULER_INTERVAL_SECONDS: '1' }

/** Starts one more process of the service. */
function startProcess(host: TestHost, mode: string): ChildProcess {
  const child = host.spawn(['serve', '--mode', mode])
  child.stdout?.resume()
  child.stderr?.resume()
  return child
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<number> {
  const started = performance.now()
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }
  return performance.now() - started
}

async function until(isSo: () => Promise<boolean>, what: string, waitMs = 60_000): Promise<void> {
  for (const deadline = Date.now() + waitMs; !(await isSo()); ) {
    assert.ok(Date.now() < deadline, `${what}: not within ${waitMs / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

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
  test('they share 2,000 renewals; killed at random, each is done exactly once', async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
    const jobs = 2_000
    await using server = await startMongo()
    await using host = await newHost({ ...mongoEnvironment(server.uri), ...quick })
    const api = await host.furnish(1)
    await host.withStore((store) => copyCertificate(store, jobs))
    const children = ['worker', 'worker', 'worker', 'scheduler'].map((mode) => startProcess(host, mode))
    const pending = async () => {
      const { jobs: counts } = JSON.parse(await api.request('GET', '/api/v1/overview')) as {
        jobs: { queued: number; running: number }
      }
      return counts.queued + counts.running
    }
    try {
      await until(async () => (await pending()) > 0, 'the first job')
      for (let kill = 0; kill < 8; kill++) {
        await new Promise((resolve) => setTimeout(resolve, 300 + ((seed * (kill + 7)) % 700)))
        const victim = (seed + kill) % 3
        await end(children[victim] as ChildProcess, 'SIGKILL')
        children[victim] = startProcess(host, 'worker')
      }
      await until(async () => (await countDone(host)) >= jobs, `2,000 renewals (seed ${seed})`, 400_000)
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
        assert.equal(perCertificate.get(job.subject), 1, `seed ${seed}: ${job.subject}`)
        assert.equal(job.steps.filter(({ text }) => text === 'done').length, 1)
        renewed++
      }
      assert.equal(renewed, jobs)
    })
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

/** Makes due copies of the one certificate there is; their keys are made when they are renewed. */
async function copyCertificate(store: Parameters<Parameters<TestHost['withStore']>[0]>[0], count: number): Promise<void> {
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
