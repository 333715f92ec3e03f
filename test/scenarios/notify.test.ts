import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { SMTPServer } from 'smtp-server'
import { noteOverdueBackup, noteOverdueDrill } from '../../src/backup/due-backup.ts'
import type { Certificate } from '../../src/certificates/collections.ts'
import { dayMs } from '../../src/core/clock.ts'
import { newHost } from '../test-host.ts'

interface Received {
  headers: Record<string, unknown>
  body: string
}

/** A webhook receiver that refuses as often as it is told to. */
async function startReceiver(t: TestContext) {
  const received: Received[] = []
  const state = { refusals: 0 }
  const server = createServer(async (request, response) => {
    const body = Buffer.concat((await Array.fromAsync(request)) as Buffer[]).toString()
    const isRefused = state.refusals-- > 0
    if (!isRefused) received.push({ headers: request.headers, body })
    response.writeHead(isRefused ? 500 : 200).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close().closeAllConnections())
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}/hook`, received, state }
}

/** A real mail server that keeps what it is given. */
async function startMail(t: TestContext) {
  const mails: string[] = []
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, _session, done) {
      let text = ''
      stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
      stream.on('end', () => {
        mails.push(text)
        done()
      })
    },
  })
  const listening = server.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.after(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return { port: (listening.address() as { port: number }).port, mails }
}

async function until<T>(found: () => T | undefined, what: string): Promise<T> {
  for (const deadline = Date.now() + 15_000; ; ) {
    const value = found()
    if (value !== undefined) return value
    assert.ok(Date.now() < deadline, what)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('a webhook is told once, signed; what it refuses is tried again under the same key', async (t) => {
  const hook = await startReceiver(t)
  await using host = await newHost({ CERTAUTOPILOT_OUTBOUND_ALLOW: '127.0.0.1' })
  const api = await host.furnish(0)
  const secret = { CERTAUTOPILOT_NOTIFY_SECRET: 'signing secret' }
  const created = await host.cliWith(
    secret,
    'notify',
    'create',
    'hook',
    '--set',
    `url=${hook.url}`,
    '--min-severity',
    'info',
    '--json',
  )
  assert.equal(created.exitCode, 0, created.stderr)
  assert.doesNotMatch((await host.ok('notify', 'list', '--json')).stdout, /signing secret/)
  await host.ok('notify', 'test', 'hook')
  const tested = hook.received.shift() as Received
  const signature = `sha256=${createHmac('sha256', 'signing secret').update(tested.body).digest('hex')}`
  assert.equal(tested.headers['x-certautopilot-signature'], signature)

  hook.state.refusals = 1
  await api.request('POST', '/api/v1/certificates', { project: 'default', names: ['told.example.org'] })
  const listed = async () =>
    JSON.parse(await api.request('GET', '/api/v1/jobs')) as { items: { _id: string; kind: string; error: string }[] }
  let failed: string | undefined
  for (const deadline = Date.now() + 15_000; failed === undefined && Date.now() < deadline; )
    failed = (await listed()).items.find(({ kind, error }) => kind === 'notify.send' && error !== '')?._id
  assert.match((await host.ok('notify', 'list')).stdout, /answers 500/)
  await host.ok('job', 'retry', String(failed))
  const told = await until(() => hook.received.find(({ body }) => body.includes('told.example.org was issued')), 'the message')
  assert.equal((JSON.parse(told.body) as { key: string }).key, told.headers['idempotency-key'])
  assert.equal(hook.received.filter(({ body }) => body.includes('told.example.org was issued')).length, 1)
})

test('mail of grave events only; expiry is told once, and nothing at all in safe mode', async (t) => {
  const mail = await startMail(t)
  await using host = await newHost()
  await host.furnish(1)
  const settings = ['server=127.0.0.1', `port=${mail.port}`, 'from=cap@example.org', 'to=ops@example.org', 'tls=none']
  await host.ok(
    'notify',
    'create',
    'mail',
    '--kind',
    'smtp',
    ...settings.flatMap((setting) => ['--set', setting]),
    '--min-severity',
    'critical',
  )
  await host.stop()
  const expire = (days: number) =>
    host.withStore(async (store) => {
      const certificate = (await store.find<Certificate>('certificates')).items[0] as Certificate
      const not_after = new Date(Date.now() + days * dayMs)
      await store.commit([{ replace: 'certificates', document: { ...certificate, not_after, auto_renew: false } as Certificate }])
    })
  await expire(2.5)
  await host.start()
  await until(
    () => mail.mails.find((text) => /Subject: \[critical\] CertAutopilot: c0\.example\.org expires in 2 days/.test(text)),
    'the mail',
  )
  await host.stop()
  await host.start()
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  assert.equal(mail.mails.length, 1)

  const bundle = await host.backup()
  await host.stop()
  await host.ok('restore', 'apply', bundle)
  await expire(-1)
  await host.start()
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  assert.equal(mail.mails.length, 1)
})

test('a password is not sent without TLS, and a private address is not told unless allowed', async (t) => {
  const hook = await startReceiver(t)
  await using host = await newHost()
  await host.furnish(0)
  const plain = ['server=mail.example.org', 'from=a@example.org', 'to=b@example.org', 'user=a', 'tls=none']
  const refused = await host.cli('notify', 'create', 'mail', '--kind', 'smtp', ...plain.flatMap((setting) => ['--set', setting]))
  assert.match(refused.stderr, /a password is not sent without TLS/)
  await host.ok('notify', 'create', 'hook', '--set', `url=${hook.url}`)
  const tested = await host.cli('notify', 'test', 'hook')
  assert.match(tested.stderr, /which is a loopback address and not reached from here/)
  assert.deepEqual(hook.received, [])
})

test('people are told of backups and drills: what went well, what failed, what is overdue', async (t) => {
  const hook = await startReceiver(t)
  await using host = await newHost({ CERTAUTOPILOT_OUTBOUND_ALLOW: '127.0.0.1' })
  await host.furnish(1)
  await host.ok('notify', 'create', 'hook', '--set', `url=${hook.url}`, '--min-severity', 'info')
  const told = (event: string) =>
    until(() => hook.received.map(({ body }) => JSON.parse(body) as Message).find((message) => message.event === event), event)

  const bundle = await host.backup()
  assert.equal((await told('backup.succeeded')).title, `backup ${bundle} was taken and opened`)
  await host.ok('drill', 'run')
  assert.equal((await told('drill.passed')).severity, 'info')

  const missing = { CERTAUTOPILOT_BACKUP_TARGETS: `nas=disk://${host.home}/no-mount` }
  assert.equal((await host.cliWith(missing, 'backup', 'create')).exitCode, 3)
  const partial = await told('backup.partial')
  assert.deepEqual([partial.severity, partial.title], ['critical', 'the backup did not get to target nas'])
  assert.match(JSON.stringify(partial), /no-mount/, 'and why')

  assert.notEqual((await host.cliWith({ CERTAUTOPILOT_BACKUP_RECIPIENTS: 'age1nobody' }, 'backup', 'create')).exitCode, 0)
  assert.equal((await told('backup.failed')).severity, 'critical')

  await host.withParts(async (parts, store) => {
    const inAWeek = { now: () => new Date(Date.now() + 7 * dayMs) }
    const config = { ...parts.config, 'backup.schedule': '15 3 * * *' }
    assert.ok(await noteOverdueBackup({ ...parts, config, clock: inAWeek }, store))
    const inAYear = { now: () => new Date(Date.now() + 365 * dayMs) }
    assert.ok(await noteOverdueDrill({ ...parts, clock: inAYear }, store))
  })
  assert.equal((await told('backup.overdue')).severity, 'critical')
  assert.equal((await told('drill.overdue')).severity, 'warning')

  for (const name of await host.bundles()) {
    const path = `${host.paths.backups}/${name}`
    const bytes = await readFile(path)
    bytes[bytes.length - 30] = (bytes.at(-30) as number) ^ 1
    await writeFile(path, bytes)
  }
  assert.equal((await host.cli('drill', 'run')).exitCode, 23)
  assert.equal((await told('drill.failed')).severity, 'critical')
  assert.equal((await host.cli('backup', 'verify', bundle)).exitCode, 23)
  const unverified = await told('backup.unverified')
  assert.deepEqual([unverified.severity, unverified.title], ['critical', `backup ${bundle} did not verify`])
})

interface Message {
  event: string
  severity: string
  title: string
}
