import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { assertUnharmed, digests, exits, ground, note, randomAt, retention, table, tryFault } from '../fault-ground.ts'
import { type MongoProxy, startMongoProxy } from '../mongo-proxy.ts'
import { needs, startMongo } from '../servers.ts'
import { startMinio } from '../target-servers.ts'
import { mongoEnvironment, newHost, type TestHost } from '../test-host.ts'

/** Every exit code of the contract that a backup can give; 1 is a disk that is full, see `disk-full.test.ts`. */
const exitsWanted = [0, 1, 2, 3, 11, 20, 22, 24, 28, 130]
const quiesced = { CERTAUTOPILOT_BACKUP_CONSISTENCY: 'quiesced' }

for (const settings of [{}, quiesced])
  test(`killed at every step, and at random bytes: ${'CERTAUTOPILOT_BACKUP_CONSISTENCY' in settings ? 'quiesced' : 'snapshot'}`, async () => {
    await using host = await newHost({ ...retention, ...settings })
    await fill(host)
    const at = await ground(host)
    const folder = join(host.home, '..', 'nas')
    await mkdir(folder)
    const words = ['backup', 'create', '--json']
    const target = { CERTAUTOPILOT_BACKUP_TARGETS: `nas=disk://${folder}` }
    const phases = await phasesOf(host, target)
    assert.ok(phases.length >= 4, phases.join())
    at.before = await digests(host)
    for (const phase of phases)
      await tryFault(at, `kill -9 at "${phase}"`, [-1], () => killedAt(host.spawn(words, target), `"phase":"${phase}"`))
    const whole = (await stat(join(host.paths.backups, [...at.before.keys()].at(-1) as string))).size
    for (let n = 0; n < 5; n++)
      await tryFault(at, 'kill -9 at a random byte of the bundle', [-1, 0], () =>
        killedAtByte(host, words, Math.floor(whole * randomAt(n))),
      )
    const there = (await host.cliWith(target, 'backup', 'list', '--from', 'nas', '--json')).json as {
      bundles: { is_damaged: boolean }[]
    }
    assert.ok(
      there.bundles.every(({ is_damaged }) => !is_damaged),
      'what counts at a target is whole',
    )
  })

test('what is refused before anything is read: secrets and files that cannot be used', async () => {
  await using host = await newHost(retention)
  const at = await ground(host)
  const secrets = await host.read(host.paths.secrets)
  const create = () => host.cli('backup', 'create')
  const putBack = () => writeFile(host.paths.secrets, secrets)
  await tryFault(
    at,
    'secrets.env cannot be read',
    [2, 24],
    async () => {
      await rename(host.paths.secrets, `${host.paths.secrets}.away`)
      await mkdir(host.paths.secrets)
      return create()
    },
    async () => {
      await rm(host.paths.secrets, { recursive: true })
      await rename(`${host.paths.secrets}.away`, host.paths.secrets)
    },
  )
  const other = secrets.replace(/KEK_V1=../, (start) => start.replace(/..$/, start.endsWith('00') ? '11' : '00'))
  await tryFault(
    at,
    'secrets that do not open the database',
    [22],
    async () => writeFile(host.paths.secrets, other).then(create),
    putBack,
  )
  await tryFault(
    at,
    'a secret that a service needs is missing',
    [2],
    async () => writeFile(host.paths.secrets, secrets.replace(/CERTAUTOPILOT_AUDIT_SECRET=.*\n/, '')).then(create),
    putBack,
  )
  await tryFault(
    at,
    'a file that belongs into the bundle cannot be read',
    [24],
    async () => {
      await mkdir(host.paths.tls, { recursive: true })
      await symlink('/nowhere', join(host.paths.tls, 'key.pem'))
      return create()
    },
    () => rm(host.paths.tls, { recursive: true }),
  )
  await tryFault(at, 'nobody to seal to', [2], () => host.cliWith({ CERTAUTOPILOT_BACKUP_RECIPIENTS: '' }, 'backup', 'create'))
})

test('two runs at once, a run of another host, and one that is interrupted', async () => {
  await using host = await newHost(retention)
  const at = await ground(host)
  const keep = { CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }
  for (let n = 0; n < 3; n++) {
    const runs = await Promise.all([0, 1].map(() => host.cliWith(keep, 'backup', 'create')))
    const codes = runs.map(({ exitCode }) => exitCode).sort()
    assert.ok(['0,0', '0,11'].includes(codes.join()), codes.join())
    note('two runs at once', codes.join(' and '), 'whole')
    for (const code of codes) exits.add(code)
  }
  const again = { ...at, before: await digests(host) }
  const lease = (owner: string) => ({ _id: 'backup', owner, expires_at: new Date(Date.now() + 600_000) })
  await tryFault(
    again,
    'another host is taking a backup',
    [11],
    async () => {
      await host.withStore((store) => store.commit([{ insert: 'locks', document: lease('elsewhere (/b), process 1') }]))
      return host.cli('backup', 'create')
    },
    () => host.withStore((store) => store.commit([{ remove: 'locks', id: 'backup' }])),
  )
  const late = { ...lease('elsewhere (/b), process 1'), expires_at: new Date(Date.now() - 1000) }
  await host.withStore((store) => store.commit([{ insert: 'locks', document: late }]))
  const over = await host.cliWith(keep, 'backup', 'create')
  assert.equal(over.exitCode, 0)
  assert.match(over.stdout, /"elsewhere \(\/b\), process 1" did not end the backup before this one/)
  note('another host was killed while it took a backup', '0, and said so', '1 whole')
  const interrupted = { ...again, before: await digests(host) }
  await tryFault(interrupted, 'interrupted (SIGINT)', [130], () =>
    killedAt(host.spawn(['backup', 'create', '--json']), '"phase":"reading the database"', 'SIGINT'),
  )
})

test('envelopes that do not open, and a disk that is full', async () => {
  await using host = await newHost(retention)
  const at = await ground(host)
  type Sealed = { _id: string; encrypted_key: { ciphertext: Buffer } }
  const flip = () =>
    host.withStore(async (store) => {
      const [key] = (await store.find<Sealed>('certificate_private_keys')).items
      const ciphertext = Buffer.from(key?.encrypted_key.ciphertext as Buffer)
      ciphertext[3] = (ciphertext[3] as number) ^ 1
      await store.commit([
        {
          replace: 'certificate_private_keys',
          document: { ...key, encrypted_key: { ...key?.encrypted_key, ciphertext } } as never,
        },
      ])
    })
  await tryFault(at, 'an envelope that does not open', [20], async () => flip().then(() => host.cli('backup', 'create')), flip)
  if (process.getuid?.() !== 0) return
  const small = await mkdtemp(join(tmpdir(), 'certautopilot-small-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'small', small])
  try {
    await tryFault(at, 'a disk that is full', [1], () =>
      host.cliWith({ CERTAUTOPILOT_BACKUP_DIRECTORY: small }, 'backup', 'create'),
    )
  } finally {
    execFileSync('umount', [small])
    await rm(small, { recursive: true })
  }
})

test('secrets that change in the middle', needs('SECANTUSD'), async () => {
  await using server = await startMongo()
  await using proxy = await startMongoProxy(server.port)
  await using host = await newHost({ ...mongoEnvironment(server.uri), ...retention })
  const at = await ground(host)
  const secrets = await host.read(host.paths.secrets)
  // When the snapshot is opened, the first look at the secrets is over.
  const atSnapshot = (content: string, environment: Record<string, string> = {}) => {
    let isDone = false
    proxy.judge = (command) => {
      if (command.find !== 'certautopilot_marker' || isDone) return undefined
      isDone = true
      writeFileSync(host.paths.secrets, content)
      return undefined
    }
    return host.cliWith({ CERTAUTOPILOT_DATABASE_URI: proxy.uri, ...environment }, 'backup', 'create')
  }
  const putBack = async () => {
    proxy.judge = () => undefined
    await writeFile(host.paths.secrets, secrets)
  }
  const exchanged = secrets.replace(/KEK_V1=.*/, `KEK_V1=${'0123456789abcdef'.repeat(4)}`)
  await tryFault(at, 'the KEK is exchanged while a backup begins', [22], () => atSnapshot(exchanged), putBack)
  const grown = `${secrets}CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V2=${'fedcba9876543210'.repeat(4)}\n`
  const keep = { CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }
  await tryFault(at, 'a KEK version is added while a backup begins', [0], () => atSnapshot(grown, keep), putBack)
})

test('MongoDB goes away, steps down, hangs or ends the snapshot in the middle', needs('SECANTUSD'), async () => {
  await using server = await startMongo()
  await using proxy = await startMongoProxy(server.port)
  const quick = { CERTAUTOPILOT_DATABASE_ANSWER_SECONDS: '2' }
  await using host = await newHost({ ...mongoEnvironment(server.uri), ...retention, ...quick })
  const at = await ground(host)
  // 9 MB: an answer has about 2 MB, and the third one after the first must still come.
  await host.withStore(async (store) => {
    const filler = (n: number) => ({
      insert: 'idempotency_keys',
      document: { _id: `filler-${n}`, text: 'x'.repeat(3000), expires_at: new Date(Date.now() + 3_600_000) },
    })
    await store.commit(Array.from({ length: 3000 }, (_, n) => filler(n)) as never)
  })
  const error = (code: number, codeName: string) => ({ answer: { ok: 0, code, codeName, errmsg: `${codeName} (planted)` } })
  const verdicts = [
    ['the connection is cut in the middle of the dump', 'cut', [28]],
    ['the primary steps down in the middle of the dump', error(189, 'PrimarySteppedDown'), [28]],
    ['the server shuts down in the middle of the dump', error(91, 'ShutdownInProgress'), [28]],
    ['the server answers no more in the middle of the dump', 'hang', [28]],
    ['the snapshot is too old in the middle of the dump', error(239, 'SnapshotTooOld'), [24]],
    ['the transaction outlived its limit', error(290, 'TransactionExceededLifetimeLimitSeconds'), [24]],
  ] as const
  for (const [fault, verdict, expected] of verdicts)
    for (const settings of [{}, quiesced]) {
      let reads = 0
      const nth = 1 + Math.floor(randomAt(table.length) * 3)
      proxy.judge = (command) => (command.getMore !== undefined && ++reads >= nth ? verdict : undefined)
      await tryFault(
        at,
        fault,
        expected,
        () => host.cliWith({ CERTAUTOPILOT_DATABASE_URI: proxy.uri, ...settings }, 'backup', 'create'),
        heal(proxy),
      )
    }
})

const heal = (proxy: MongoProxy) => async () => {
  proxy.judge = () => undefined
}

test('a target that fails at any call, hangs, lies or loses what it took', needs('MINIO'), async () => {
  await using minio = await startMinio()
  await minio.createBucket('vault')
  await using spoiler = await startSpoiler(minio.endpoint)
  const url = `s3://vault?endpoint=${spoiler.endpoint}&timeout_seconds=1`
  const secrets = Object.fromEntries(Object.entries(minio.credentials).map(([name, value]) => [`CAP_TARGET_S3_${name}`, value]))
  await using host = await newHost({ ...retention, ...secrets })
  const at = await ground(host)
  const target = { CERTAUTOPILOT_BACKUP_TARGETS: url }
  await host.cliWith({ ...target, CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }, 'backup', 'target', 'sync')
  const keep = { ...target, CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }
  const create = () => host.cliWith(keep, 'backup', 'create')
  const wholeThere = async (fault: string) => {
    spoiler.spoil = () => 'pass'
    const listed = (await host.cliWith(keep, 'backup', 'list', '--from', 's3', '--json')).json as { bundles?: { name: string }[] }
    for (const { name } of (listed.bundles ?? []).slice(0, 2)) {
      const verified = await host.cliWith(keep, 'backup', 'verify', name, '--from', 's3', '--identity', host.paths.recoveryKit)
      assert.equal(verified.exitCode, 0, `${fault}: "${name}" there: ${verified.stderr}`)
    }
    const synced = await host.cliWith(keep, 'backup', 'target', 'sync')
    assert.equal(synced.exitCode, 0, `${fault}: ${synced.stdout}${synced.stderr}`)
  }
  for (const nth of [1, 2, 3, 4, 5, 6]) {
    let calls = 0
    spoiler.spoil = () => (++calls === nth ? 'fail' : 'pass')
    await tryFault(at, 'a target answers 503 to one call: it is tried again', [0], create, () => wholeThere('one 503'))
    calls = 0
    spoiler.spoil = () => (++calls >= nth ? 'fail' : 'pass')
    await tryFault(at, 'a target fails from some call on', [3], create, () => wholeThere('503s'))
  }
  for (const [fault, kind] of [
    ['a target hangs', 'hang'],
    ['a target sends half of an answer and hangs', 'half'],
    ['a target takes an upload and loses it', 'lose'],
  ] as const) {
    spoiler.spoil = (method) =>
      kind === 'lose' ? (method === 'PUT' ? 'lose' : 'pass') : kind === 'half' && method !== 'GET' ? 'pass' : kind
    await tryFault(at, fault, [3], create, () => wholeThere(fault))
  }
})

test(
  'a clock that jumps: bundles keep their order, and nothing is removed while one is from the future',
  needs('FAKETIME'),
  async () => {
    await using host = await newHost(retention)
    const at = await ground(host)
    const library = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
    const preload = await stat(library).then(
      () => library,
      () => execFileSync('sh', ['-c', 'dpkg -L libfaketime | grep libfaketime.so.1']).toString().trim(),
    )
    for (const jump of ['-2d', '+400d']) {
      const faked = {
        LD_PRELOAD: preload,
        FAKETIME: jump,
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50',
      }
      const run = await host.cliWith(faked, 'backup', 'create')
      assert.equal(run.exitCode, 0, `${jump}: ${run.stderr}`)
      note(`the clock of a backup is off by ${jump}`, String(run.exitCode), await assertUnharmed(at, jump))
      at.before = await digests(host)
    }
    const stopped = await host.cli('backup', 'create')
    assert.equal(stopped.exitCode, 0)
    assert.match(stopped.stdout, /from the future/)
    await assertUnharmed({ ...at, before: at.before }, 'a bundle from the future')
  },
)

test('every exit code that a backup can give was seen', needs('SECANTUSD', 'MINIO'), () => {
  const missing = exitsWanted.filter((code) => !exits.has(code))
  assert.deepEqual(missing, process.getuid?.() === 0 ? [] : [1], `seen: ${[...exits].sort((a, b) => a - b).join()}`)
})

/** Some megabytes, so that every step lasts for a while. */
async function fill(host: TestHost): Promise<void> {
  await host.ok('setup')
  await host.withStore(async (store) => {
    const expires_at = new Date(Date.now() + 3_600_000)
    const document = (n: number) => ({ _id: `filler-${n}`, text: randomBytes(1500).toString('base64'), expires_at })
    await store.commit(Array.from({ length: 5_000 }, (_, n) => ({ insert: 'idempotency_keys', document: document(n) })) as never)
  })
}

async function phasesOf(host: TestHost, environment: Record<string, string>): Promise<string[]> {
  const run = await host.cliWith({ ...environment, CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }, 'backup', 'create', '--json')
  assert.equal(run.exitCode, 0, run.stderr)
  return [...new Set([...run.stdout.matchAll(/"phase":"([^"]+)"/g)].map(([, phase = '']) => phase))]
}

/** @returns the exit code, or null when the signal ended it */
async function killedAt(child: ChildProcess, text: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
  const exited = once(child, 'exit')
  let output = ''
  child.stderr?.resume()
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    if (output.includes(text) && !child.killed) child.kill(signal)
  })
  return ((await exited) as [number | null])[0]
}

async function killedAtByte(host: TestHost, words: string[], bytes: number): Promise<number | null> {
  const child = host.spawn(words, { CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' })
  child.stdout?.resume()
  child.stderr?.resume()
  const exited = once(child, 'exit')
  while (child.exitCode === null && child.signalCode === null) {
    const draft = (await readdir(host.paths.backups)).find((name) => name.startsWith('.draft-'))
    const size =
      draft === undefined
        ? 0
        : await stat(join(host.paths.backups, draft)).then(
            ({ size }) => size,
            () => 0,
          )
    if (size > bytes) child.kill('SIGKILL')
    await new Promise((resolve) => setImmediate(resolve))
  }
  return ((await exited) as [number | null])[0]
}

type Spoiling = 'pass' | 'fail' | 'hang' | 'half' | 'lose'

interface Spoiler extends AsyncDisposable {
  endpoint: string
  spoil: (method: string) => Spoiling
}

/** Stands before a bucket and spoils requests. The `host` header stays as it was signed. */
async function startSpoiler(endpoint: string): Promise<Spoiler> {
  const spoiler: { spoil: Spoiler['spoil'] } = { spoil: () => 'pass' }
  const server = createHttpServer((incoming, outgoing) => {
    const kind = spoiler.spoil(incoming.method ?? '')
    if (kind === 'hang') return void incoming.resume()
    if (kind === 'fail') return void incoming.resume().once('end', () => outgoing.writeHead(503).end())
    if (kind === 'lose') return void incoming.resume().once('end', () => outgoing.writeHead(200, { etag: '"0"' }).end())
    const { method, url, headers } = incoming
    const forwarded = httpRequest(new URL(url ?? '/', endpoint), { method, headers }, (reply) => {
      outgoing.writeHead(reply.statusCode ?? 500, reply.headers)
      if (kind !== 'half') return void reply.pipe(outgoing)
      reply.once('data', (chunk: Buffer) => {
        outgoing.write(chunk.subarray(0, Math.floor(chunk.length / 2)))
        reply.destroy()
      })
    })
    forwarded.on('error', () => outgoing.destroy())
    incoming.pipe(forwarded)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(spoiler, {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}
