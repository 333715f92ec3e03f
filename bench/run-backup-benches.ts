import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openHost } from '../src/host.ts'
import { setUpHome } from '../src/setup-home.ts'
import { findProgram, startMongo } from '../test/servers.ts'
import { fillStore } from './generate.ts'
import { type ChildRun, median, missedCount, report, runProgram } from './measure.ts'

/**
 * Usage: npm run bench:backup -- [mongodb|embedded]; SIZES=100000,1000000 and ROUNDS=3. Whole processes take turns on the same database: the
 * operator page's script where `mongodump` is there, else a raw read with two cursors as the limit, and `backup create` with its default
 * settings (a dump that outlives the server's snapshot quiesces, and may pause writers for as long as it takes).
 */
const sizes = (process.env.SIZES ?? '100000,1000000').split(',').map(Number)
const rounds = Number(process.env.ROUNDS ?? 3)
const memoryLimitMb = 250
const rawReader = fileURLToPath(new URL('./raw-read.ts', import.meta.url))

type Environment = Record<string, string>

interface Measured {
  certificates: number
  seconds: number
  /** Of our processes, on all cores. */
  cpuSeconds: number
  /** What the peer took. */
  peerSeconds: number
  peakMb: number
}

const engines: Record<string, (certificates: number) => Promise<Measured>> = {
  mongodb: async (certificates) => {
    await using server = await startMongo({ flags: ['--cache-size', '4G'] })
    return await measure(
      certificates,
      { CERTAUTOPILOT_DATABASE_URI: server.uri, CERTAUTOPILOT_DATABASE_NAME: 'bench' },
      server.process.pid,
    )
  },
  embedded: (certificates) => measure(certificates, {}, undefined),
}

for (const [engine, run] of Object.entries(engines)) {
  if (process.argv.length > 2 && !process.argv.includes(engine)) continue
  if (engine === 'mongodb' && findProgram('SECANTUSD') === undefined) {
    console.log('skipped mongodb: tools/test-servers could not provide a server')
    continue
  }
  const measured: Measured[] = []
  for (const size of sizes) {
    console.log(`${engine}, ${size.toLocaleString('en-US')} certificates`)
    measured.push(await run(size))
  }
  compareSizes(engine, measured)
}
process.exitCode = missedCount() === 0 ? 0 : 1

async function measure(certificates: number, database: Environment, serverPid: number | undefined): Promise<Measured> {
  const root = await mkdtemp(join(tmpdir(), 'certautopilot-bench-'))
  const environment = {
    CERTAUTOPILOT_HOME: join(root, 'cap'),
    CERTAUTOPILOT_LOGGING_LEVEL: 'error',
    CERTAUTOPILOT_BACKUP_MAX_WRITE_PAUSE_SECONDS: '3600',
    CERTAUTOPILOT_BACKUP_KEEP_LEAST: '1',
    CERTAUTOPILOT_BACKUP_KEEP_DAILY: '1',
    ...database,
  }
  try {
    const host = openHost(environment)
    await setUpHome(host.paths)
    const filling = performance.now()
    await fillStore(openHost(environment), certificates)
    console.log(`        filled in ${((performance.now() - filling) / 1000).toFixed(0)} s`)
    return await takeTurns(certificates, environment, root, serverPid)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

async function takeTurns(
  certificates: number,
  environment: Environment,
  root: string,
  serverPid: number | undefined,
): Promise<Measured> {
  const peers: ChildRun[] = []
  const ours: ChildRun[] = []
  let serverSeconds = 0
  for (let round = 0; round < rounds; round++) {
    peers.push(await succeeded(serverPid === undefined ? rawRead(environment, 'gzip', '1') : rawRead(environment, 'read')))
    const before = cpuSecondsOf(serverPid)
    ours.push(await succeeded(runProgram(['backup', 'create', '--profile', '--json'], environment)))
    serverSeconds = cpuSecondsOf(serverPid) - before
  }
  const peer = median(peers.map(({ seconds }) => seconds))
  const own = median(ours.map(({ seconds }) => seconds))
  const ratio = median(ours.map(({ seconds }, n) => seconds / (peers[n] as ChildRun).seconds))
  const [name, atMost] = serverPid === undefined ? ['reading and gzip -1 in one thread', 1.67] : ['a raw read with two cursors', 3]
  report(`wall time against ${name}`, `${own.toFixed(1)} s against ${peer.toFixed(1)} s`, ratio, { atMost })
  const peakMb = Math.max(...ours.map((run) => run.peakMb))
  report('memory', `${peakMb.toFixed(0)} MB of ${memoryLimitMb} MB`, peakMb / memoryLimitMb, { atMost: 1 })
  const summary = summaryOf(ours.at(-1) as ChildRun)
  const { stages, cpu_ms } = summary.profile
  console.log(
    `        processors: ${(cpu_ms / 1000).toFixed(1)} s ours${serverPid === undefined ? '' : `, ${serverSeconds.toFixed(1)} s the server's`}`,
  )
  for (const { stage, durationMs } of stages)
    if (durationMs > 50) console.log(`        ${(durationMs / 1000).toFixed(2).padStart(7)} s  ${stage}`)
  const disk = await writeSeconds(root, summary.bytes)
  console.log(`        limits: ${name} ${peer.toFixed(1)} s; writing and syncing as many bytes on this disk ${disk.toFixed(1)} s`)
  for (const note of summary.notes) console.log(`        ${note}`)
  await againstTheScript(environment, root, summary, own)
  return { certificates, seconds: own, cpuSeconds: cpu_ms / 1000, peerSeconds: peer, peakMb }
}

/** What the disk alone would take for a bundle. */
async function writeSeconds(folder: string, bytes: number): Promise<number> {
  const path = join(folder, 'as-large-as-the-bundle')
  const chunk = randomBytes(1024 * 1024)
  const started = performance.now()
  {
    await using file = await open(path, 'wx')
    for (let done = 0; done < bytes; done += chunk.length) await file.writeFile(chunk.subarray(0, bytes - done))
    await file.sync()
  }
  const seconds = (performance.now() - started) / 1000
  await rm(path)
  return seconds
}

interface Summary {
  bytes: number
  notes: string[]
  profile: { stages: { stage: string; durationMs: number }[]; cpu_ms: number }
}

function summaryOf({ stdout }: ChildRun): Summary {
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Summary
}

/** What the operator's page does by hand: mongodump, then tar with the secrets. Without it, gzip -6 of the same documents stands for its size. */
async function againstTheScript(
  environment: Environment,
  root: string,
  { bytes, profile }: Summary,
  seconds: number,
): Promise<void> {
  const mongodump = findProgram('MONGODUMP')
  const uri = environment.CERTAUTOPILOT_DATABASE_URI
  if (mongodump === undefined || uri === undefined) {
    const size = Number((await succeeded(rawRead(environment, 'gzip', '6'))).stdout)
    report(
      'size, sealed, against the documents through gzip -6 (no mongodump here)',
      `${mega(bytes)} against ${mega(size)}`,
      bytes / size,
      { atMost: 1.03 },
    )
    return
  }
  const started = performance.now()
  const archive = join(root, 'mongo.archive.gz')
  const script = `"$DUMP" --uri="$URI" --db=bench --gzip --archive="$ARCHIVE" && tar czf "$ARCHIVE.tar.gz" -C / "\${ARCHIVE#/}" "\${SECRETS#/}"; times`
  const variables = {
    DUMP: mongodump,
    URI: uri,
    ARCHIVE: archive,
    SECRETS: openHost(environment).paths.secrets,
    PATH: process.env.PATH ?? '',
  }
  const times = execFileSync('sh', ['-c', script], { env: variables, stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  const wall = (performance.now() - started) / 1000
  const { size } = await stat(`${archive}.tar.gz`)
  report("wall time against the operator page's script", `${seconds.toFixed(1)} s against ${wall.toFixed(1)} s`, seconds / wall, {
    atMost: 1 / 3,
  })
  report('size against it', `${mega(bytes)} against ${mega(size)}`, bytes / size, { atMost: 1.03 })
  const cpu = [...(times.split('\n')[1] ?? '').matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, m, s]) => sum + Number(m) * 60 + Number(s),
    0,
  )
  report(
    'processors against it',
    `${(profile.cpu_ms / 1000).toFixed(1)} s against ${cpu.toFixed(1)} s`,
    profile.cpu_ms / 1000 / cpu,
    { atMost: 1 },
  )
}

/** Ten times as much costs ten times as much; how the server's own cost grows, the peer shows. */
function compareSizes(engine: string, measured: readonly Measured[]): void {
  const [small, large] = [measured[0], measured.at(-1)]
  if (small === undefined || large === undefined || small === large) return
  const perCertificate = (of: (one: Measured) => number) => of(large) / of(small) / (large.certificates / small.certificates)
  const cpu = perCertificate(({ cpuSeconds }) => cpuSeconds)
  const figure = `${large.cpuSeconds.toFixed(1)} s against ${small.cpuSeconds.toFixed(1)} s`
  report(`${engine}: processor time per certificate, ${large.certificates} against ${small.certificates}`, figure, cpu, {
    atMost: 1.2,
  })
  report(
    `${engine}: memory, ${large.certificates} against ${small.certificates}`,
    `${large.peakMb.toFixed(0)} MB against ${small.peakMb.toFixed(0)} MB`,
    large.peakMb / small.peakMb,
    { atMost: 1.25 },
  )
  const [own, peer] = [perCertificate(({ seconds }) => seconds), perCertificate(({ peerSeconds }) => peerSeconds)]
  const growth = `${large.seconds.toFixed(1)} s against ${small.seconds.toFixed(1)} s, while the peer's grows ${peer.toFixed(2)} times`
  report(`${engine}: time per certificate, ${large.certificates} against ${small.certificates}`, growth, own, { atMost: 1.2 })
}

function rawRead(environment: Environment, ...words: string[]): Promise<ChildRun> {
  return runProgram([rawReader, ...words], environment, process.execPath)
}

async function succeeded(running: Promise<ChildRun>): Promise<ChildRun> {
  const run = await running
  if (run.exitCode !== 0) throw new Error(run.stdout + run.stderr)
  return run
}

/** User and system time of a process so far. */
function cpuSecondsOf(pid: number | undefined): number {
  if (pid === undefined) return 0
  const fields =
    execFileSync('cat', [`/proc/${pid}/stat`])
      .toString()
      .split(') ')[1]
      ?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function mega(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`
}
