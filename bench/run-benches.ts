import { execFileSync, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { MongoClient } from 'mongodb'
import { createBackup } from '../src/backup/create-backup.ts'
import { SocketClient } from '../src/backup/host/socket-client.ts'
import { listCertificates } from '../src/certificates/list-certificates.ts'
import { openHost } from '../src/host.ts'
import { setUpHome } from '../src/setup-home.ts'
import { findProgram, startMongo } from '../test/servers.ts'
import { fillStore } from './generate.ts'
import { launcher, median, missedCount, peakOf, percentile, report, runProgram } from './measure.ts'

/**
 * Usage: npm run bench -- [NAME...]; names are the keys of `benches`. CERTIFICATES and MANY change the sizes. It runs with the launcher's
 * flags, so that what runs in this process, ours and the peers, runs as the product does.
 */
const certificates = Number(process.env.CERTIFICATES ?? 100_000)
const many = Number(process.env.MANY ?? 300_000)
const few = 10_000
const rounds = 5
const compress = promisify(gzip)
const memoryLimitMb = 250

type Environment = Record<string, string>

const benches: Record<string, () => Promise<void>> = { embedded, mongodb, memory }

const wanted = process.argv.slice(2)
for (const [name, bench] of Object.entries(benches)) if (wanted.length === 0 || wanted.includes(name)) await bench()
process.exitCode = missedCount() === 0 ? 0 : 1

async function withHome(environment: Environment, use: (environment: Environment) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'certautopilot-bench-'))
  const full = {
    CERTAUTOPILOT_HOME: join(root, 'cap'),
    CERTAUTOPILOT_SERVER_PORT: '0',
    CERTAUTOPILOT_LOGGING_LEVEL: 'error',
    ...environment,
  }
  try {
    await setUpHome(openHost(full).paths)
    await use(full)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

async function embedded(): Promise<void> {
  await withHome({}, async (environment) => {
    const host = openHost(environment)
    await fillStore(host, certificates)
    await boot(environment)
    await listPages(environment)
    await backupAgainstRawRead(environment)
    await verifyRate(environment)
    await restoreTime(environment)
  })
}

async function boot(environment: Environment): Promise<void> {
  const seconds: number[] = []
  for (let round = 0; round < rounds; round++) {
    const cache = await mkdtemp(join(tmpdir(), 'certautopilot-cache-'))
    seconds.push((await startToReady({ ...environment, NODE_COMPILE_CACHE: cache })).seconds)
    await rm(cache, { recursive: true })
  }
  const typical = median(seconds)
  report(`from spawn to ready, ${certificates} certificates, cold compile cache`, `${typical.toFixed(2)} s of 1 s`, typical, {
    atMost: 1,
  })
}

async function startToReady(environment: Environment): Promise<{ seconds: number; peakMb: number }> {
  const started = performance.now()
  const child = spawn(launcher, ['serve'], {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: 'ignore',
  })
  const client = new SocketClient(openHost(environment).paths.adminSocket)
  while (
    !(await client.request('GET', '/readyz').then(
      () => true,
      () => false,
    ))
  )
    await new Promise((resolve) => setTimeout(resolve, 5))
  const seconds = (performance.now() - started) / 1000
  const peakMb = peakOf(child.pid as number)
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await exited
  return { seconds, peakMb }
}

async function listPages(environment: Environment): Promise<void> {
  const host = openHost(environment)
  const store = await host.backup.openStore()
  await store.prepare(host.backup.collections)
  const times: number[] = []
  let after: string | undefined
  for (let n = 0; n < 200; n++) {
    const started = performance.now()
    const page = await listCertificates(store, { limit: 50, after }, new Date())
    times.push(performance.now() - started)
    after = page.nextCursor
  }
  await store.close()
  const p95 = percentile(times, 0.95)
  report('a list page of 50, by expiry, p95', `${p95.toFixed(1)} ms of 20 ms`, p95 / 20, { atMost: 1 })
}

/** Our backup and the plain read take turns, so that both see the same machine. */
async function backupAgainstRawRead(environment: Environment): Promise<void> {
  const host = openHost(environment)
  const store = await host.backup.openStore()
  await store.prepare(host.backup.collections)
  const ratios: number[] = []
  let figure = ''
  for (let round = 0; round < rounds; round++) {
    const { seconds: plain, bytes } = await readAndGzip(host)
    const started = performance.now()
    await createBackup(host.backup, store, new AbortController().signal)
    const ours = (performance.now() - started) / 1000
    ratios.push(plain / ours)
    figure = `${(bytes / ours / 1e6).toFixed(0)} MB/s of ${(bytes / plain / 1e6).toFixed(0)} MB/s`
  }
  await store.close()
  report('backup create (sealed, every envelope opened) against reading and gzip -1', figure, median(ratios), { atLeast: 0.6 })
}

async function readAndGzip(host: ReturnType<typeof openHost>): Promise<{ seconds: number; bytes: number }> {
  const started = performance.now()
  const { DatabaseSync } = await import('node:sqlite')
  const database = new DatabaseSync(host.paths.database, { readOnly: true })
  let bytes = 0
  let pending: Promise<unknown> = Promise.resolve()
  for (const table of ['c_certificates', 'c_certificate_private_keys']) {
    const statement = database.prepare(`SELECT doc FROM ${table} ORDER BY rid`)
    statement.setReturnArrays(true)
    let parts: Uint8Array[] = []
    let size = 0
    for (const row of statement.iterate() as Iterable<unknown>) {
      const document = (row as [Uint8Array])[0]
      parts.push(document)
      size += document.length
      if (size < 1024 * 1024) continue
      await pending
      pending = compress(Buffer.concat(parts, size), { level: 1 })
      bytes += size
      parts = []
      size = 0
    }
    await pending
    if (size > 0) await compress(Buffer.concat(parts, size), { level: 1 })
    bytes += size
  }
  database.close()
  return { seconds: (performance.now() - started) / 1000, bytes }
}

async function verifyRate(environment: Environment): Promise<void> {
  const run = await runProgram(['backup', 'verify', '--json'], environment)
  const { envelopes, seconds_elapsed } = JSON.parse(run.stdout.trim().split('\n').at(-1) as string) as {
    envelopes: { opened: number }
    seconds_elapsed: number
  }
  const rate = envelopes.opened / seconds_elapsed
  report('backup verify --level full', `${rate.toFixed(0)} envelopes/s of 20000/s`, rate / 20_000, { atLeast: 1 })
}

async function restoreTime(environment: Environment): Promise<void> {
  const { paths } = openHost(environment)
  const bundle = (await readdir(paths.backups))
    .filter((name) => name.endsWith('.age'))
    .sort()
    .at(-1) as string
  const run = await runProgram(['restore', 'apply', bundle, '--json', '--no-safety-bundle'], environment)
  if (run.exitCode !== 0) throw new Error(run.stdout + run.stderr)
  const { seconds } = await startToReady(environment)
  const total = run.seconds + seconds
  report('restore to ready with every envelope opened', `${total.toFixed(1)} s of 60 s`, total / 60, { atMost: 1 })
}

async function mongodb(): Promise<void> {
  if (findProgram('SECANTUSD') === undefined) return console.log('skipped mongodb: tools/test-servers could not provide a server')
  await using server = await startMongo({ flags: ['--cache-size', '4G'] })
  const databaseName = 'bench'
  await withHome({ CERTAUTOPILOT_DATABASE_URI: server.uri, CERTAUTOPILOT_DATABASE_NAME: databaseName }, async (environment) => {
    const host = openHost(environment)
    await fillStore(host, certificates)
    const store = await host.backup.openStore()
    await store.prepare(host.backup.collections)
    const ratios: number[] = []
    let figure = ''
    for (let round = 0; round < rounds; round++) {
      const plain = await rawRead(server.uri, databaseName)
      const started = performance.now()
      await createBackup(host.backup, store, new AbortController().signal)
      const ours = (performance.now() - started) / 1000
      ratios.push(ours / plain)
      figure = `${ours.toFixed(1)} s against ${plain.toFixed(1)} s`
    }
    await store.close()
    await againstTheOperatorsScript(server.uri, databaseName, environment)
    report('MongoDB: backup create against a raw read with two cursors', figure, median(ratios), { atMost: 3 })
  })
}

/** What the operator's page does by hand: mongodump, then tar with the secrets. */
async function againstTheOperatorsScript(uri: string, databaseName: string, environment: Environment): Promise<void> {
  const mongodump = findProgram('MONGODUMP')
  if (mongodump === undefined) return console.log("skipped: the operator page's script, because mongodump is not on PATH")
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-script-'))
  const started = performance.now()
  execFileSync(mongodump, [`--uri=${uri}`, `--db=${databaseName}`, '--gzip', `--archive=${join(folder, 'mongo.archive.gz')}`], {
    stdio: 'ignore',
  })
  execFileSync('tar', ['czf', join(folder, 'bundle.tar.gz'), '-C', folder, 'mongo.archive.gz', openHost(environment).paths.secrets])
  const script = (performance.now() - started) / 1000
  await rm(folder, { recursive: true })
  const { seconds } = await runProgram(['backup', 'create'], environment)
  report(
    "MongoDB: backup create against the operator page's script",
    `${seconds.toFixed(1)} s against ${script.toFixed(1)} s`,
    seconds / script,
    { atMost: 1 },
  )
}

async function rawRead(uri: string, databaseName: string): Promise<number> {
  const client = await MongoClient.connect(uri)
  const started = performance.now()
  const read = async (name: string) => {
    for await (const _document of client.db(databaseName).collection(name).find({}, { raw: true, batchSize: 1000 }));
  }
  await Promise.all([read('certificates'), read('certificate_private_keys')])
  const seconds = (performance.now() - started) / 1000
  await client.close()
  return seconds
}

async function memory(): Promise<void> {
  for (const count of [few, many]) {
    await withHome({}, async (environment) => {
      await fillStore(openHost(environment), count)
      await memoryOf(`backup create, ${count} certificates`, ['backup', 'create'], environment)
      await memoryOf(`backup verify, ${count} certificates`, ['backup', 'verify'], environment)
      const { paths } = openHost(environment)
      await mkdir(paths.backups, { recursive: true })
      const bundle = (await readdir(paths.backups)).find((name) => name.endsWith('.age')) as string
      await memoryOf(`restore apply, ${count} certificates`, ['restore', 'apply', bundle], environment)
    })
  }
}

async function memoryOf(name: string, words: string[], environment: Environment): Promise<void> {
  const run = await runProgram(words, environment)
  if (run.exitCode !== 0) throw new Error(`${name}: ${run.stdout}${run.stderr}`)
  report(
    `memory of ${name}`,
    `${run.peakMb.toFixed(0)} MB of ${memoryLimitMb} MB, ${run.seconds.toFixed(1)} s`,
    run.peakMb / memoryLimitMb,
    { atMost: 1 },
  )
}
