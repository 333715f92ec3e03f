import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SocketClient } from '../src/backup/host/socket-client.ts'
import type { Certificate } from '../src/certificates/collections.ts'
import { notFromAcme, renewalWorks } from '../src/certificates/describe.ts'
import { dueNow } from '../src/certificates/renew-certificate.ts'
import { collections, type Host, openHost } from '../src/host.ts'
import { setUpHome } from '../src/setup-home.ts'
import { findAll, type Store } from '../src/store/store.ts'
import { freePort } from '../test/acme-servers.ts'
import { findProgram, startMongo } from '../test/servers.ts'
import { fillStore } from './generate.ts'
import { launcher, median, missedCount, peakOf, percentile, report } from './measure.ts'

/**
 * The service under load, through its launcher. Usage: npm run bench:service -- [embedded|mongodb]. CERTIFICATES and DUE change the sizes.
 */
const full = { certificates: Number(process.env.CERTIFICATES ?? 100_000), due: Number(process.env.DUE ?? 10_000) }
/** For a server that reads a whole index to give its first page: what it needs for one would be all that is measured. */
const small = { certificates: 1_000, due: 1_000 }
const perSecond = 100
const listSeconds = 20
const limits = { embedded: { listMs: 20 }, mongodb: { listMs: 40 } }

const wanted = process.argv.slice(2)
for (const engine of ['embedded', 'mongodb'] as const) if (wanted.length === 0 || wanted.includes(engine)) await bench(engine)
process.exitCode = missedCount() === 0 ? 0 : 1

async function bench(engine: 'embedded' | 'mongodb'): Promise<void> {
  if (engine === 'mongodb' && findProgram('SECANTUSD') === undefined)
    return console.log('skipped mongodb: tools/test-servers could not provide a server')
  await using stack = new AsyncDisposableStack()
  const server = engine === 'mongodb' ? stack.use(await startMongo({ flags: ['--cache-size', '4G'] })) : undefined
  const root = await mkdtemp(join(tmpdir(), 'certautopilot-bench-'))
  stack.defer(() => rm(root, { recursive: true, force: true }))
  const port = await freePort()
  const environment = {
    CERTAUTOPILOT_HOME: join(root, 'cap'),
    CERTAUTOPILOT_SERVER_PORT: String(port),
    CERTAUTOPILOT_LOGGING_LEVEL: 'error',
    CERTAUTOPILOT_SCHEDULER_INTERVAL_SECONDS: '5',
    ...(server === undefined ? {} : { CERTAUTOPILOT_DATABASE_URI: server.uri, CERTAUTOPILOT_DATABASE_NAME: 'bench' }),
  }
  const host = openHost(environment)
  await setUpHome(host.paths)
  const size = await fill(openHost(environment))
  const child = spawn(launcher, ['serve'], { env: { PATH: process.env.PATH ?? '', ...environment }, stdio: 'ignore' })
  stack.defer(() => end(child))
  const api = await ready(host.paths.adminSocket)
  const key = await prepare(api)
  const store = await openHost(environment).backup.openStore()
  stack.defer(() => store.close())
  await store.prepare(collections)
  await makeDue(store, size.due)
  const storm = renewalStorm(store, child, size.due)
  await listUnderLoad({ engine, certificates: size.certificates, url: `http://127.0.0.1:${port}`, key })
  await storm
}

/** @returns how many there are, and how many shall be due */
async function fill(host: Host): Promise<typeof full> {
  await fillStore(host, full.certificates)
  const store = await host.backup.openStore()
  await store.prepare(collections)
  const scanMs = await timeOf(() => Array.fromAsync(findAll(store, 'certificates', dueNow(host.clock.now()))))
  report(`scheduler scan of ${full.certificates} certificates`, `${scanMs.toFixed(1)} ms of 200 ms`, scanMs / 200, { atMost: 1 })
  const pageMs = await timeOf(() => store.find('certificates', { sort: { field: 'name', direction: 'asc' } }))
  console.log(`        one page of ${full.certificates} certificates, nobody else asking: ${pageMs.toFixed(1)} ms`)
  await store.close()
  if (pageMs * perSecond < 500) return full
  await fillStore(host, small.certificates)
  return small
}

/** The median of several times, ms. */
async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < 7; n++) {
    const started = performance.now()
    await work()
    times.push(performance.now() - started)
  }
  return median(times)
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

async function ready(socket: string): Promise<SocketClient> {
  const api = new SocketClient(socket)
  while (
    !(await api.request('GET', '/readyz').then(
      () => true,
      () => false,
    ))
  )
    await new Promise((resolve) => setTimeout(resolve, 50))
  return api
}

async function prepare(api: SocketClient): Promise<string> {
  await api.request('POST', '/api/v1/projects', { name: 'default' })
  await api.request('POST', '/api/v1/cas', { name: 'Bench' })
  const { key } = JSON.parse(await api.request('POST', '/api/v1/api-keys', { name: 'bench', role: 'viewer' })) as { key: string }
  await api.request('POST', '/api/v1/certificates', { project: 'default', names: ['first.example.org'] })
  return key
}

/** Copies of one certificate that are due now; each renewal makes a key and signs. */
async function makeDue(store: Store, due: number): Promise<void> {
  const first = (
    await store.find<Certificate>('certificates', {
      where: { name: 'first.example.org' },
      sort: { field: 'name', direction: 'asc' },
    })
  ).items[0]
  for (let start = 0; start < due; start += 200) {
    await store.commit(
      Array.from({ length: Math.min(200, due - start) }, (_, n) => {
        const number = String(start + n).padStart(6, '0')
        const copy = { _id: `due-${number}`, fingerprint: `due ${number}`, next_renewal_at: new Date(0) }
        return { insert: 'certificates', document: { ...(first as Certificate), ...notFromAcme, ...renewalWorks, ...copy } }
      }),
    )
  }
}

async function renewalStorm(store: Store, child: ChildProcess, due: number): Promise<void> {
  const left = () => store.count('jobs', { state: { in: ['queued', 'running'] } })
  while ((await left()) === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  const started = performance.now()
  await new Promise((resolve) => setTimeout(resolve, 5_000))
  while ((await left()) > 0) await new Promise((resolve) => setTimeout(resolve, 100))
  const rate = due / ((performance.now() - started) / 1000)
  report(`${due} due renewals, one process, beside ${perSecond} lists/s`, `${rate.toFixed(0)}/s of 50/s`, rate / 50, { atLeast: 1 })
  const peakMb = peakOf(child.pid as number)
  report('memory of the service in the storm', `${peakMb.toFixed(0)} MB of 300 MB`, peakMb / 300, { atMost: 1 })
}

/** Requests leave at their times, whether or not those before were answered: a slow service does not slow the load. */
async function listUnderLoad(load: {
  engine: 'embedded' | 'mongodb'
  certificates: number
  url: string
  key: string
}): Promise<void> {
  const { engine, certificates, url, key } = load
  const headers = { authorization: `Bearer ${key}` }
  const times: number[] = []
  const running: Promise<void>[] = []
  for (let n = 0; n < perSecond * listSeconds; n++) {
    running.push(
      (async () => {
        const started = performance.now()
        const reply = await fetch(`${url}/api/v1/certificates?limit=50&sort=${n % 2 ? 'name' : 'not_after'}`, { headers })
        await reply.arrayBuffer()
        if (!reply.ok) throw new Error(`the list answered ${reply.status}`)
        times.push(performance.now() - started)
      })(),
    )
    await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond))
  }
  await Promise.all(running)
  const p95 = percentile(times, 0.95)
  const limit = limits[engine].listMs
  report(
    `${engine}: list of 50 among ${certificates} at ${perSecond}/s in a renewal storm, p95`,
    `${p95.toFixed(1)} ms of ${limit} ms`,
    p95 / limit,
    { atMost: 1 },
  )
}
