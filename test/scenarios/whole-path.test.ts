import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Certificate } from '../../src/certificates/collections.ts'
import { type MongoServer, needs, startMongo } from '../servers.ts'
import { mongoEnvironment, newHost, ownerPassword, type TestHost } from '../test-host.ts'

let server: MongoServer | undefined
after(() => server?.[Symbol.asyncDispose]())

async function environmentOf(engine: string): Promise<Record<string, string>> {
  if (engine === 'embedded') return {}
  server ??= await startMongo()
  return mongoEnvironment(server.uri)
}

const engines = [
  { engine: 'embedded', skip: false as const },
  { engine: 'mongodb', skip: needs('SECANTUSD').skip },
]

for (const { engine, skip } of engines) {
  test(`${engine}: what was backed up is there after database and secrets were destroyed`, { skip }, async () => {
    await using host = await newHost(await environmentOf(engine))
    const api = await host.furnish(3)
    await importSome(host)
    const before = await inventory(host)
    const bundle = await host.backup()
    await host.stop()

    await host.destroy()
    const restored = await host.ok(
      'restore',
      'apply',
      join(host.paths.backups, bundle),
      '--identity',
      host.paths.recoveryKit,
      '--json',
    )
    assert.equal(restored.json.certificates, before.length)
    await host.start()
    assert.deepEqual(await inventory(host), before)

    await logInAsOwner(host)
    const issuing = await host.cli('cert', 'issue', 'new.example.org')
    assert.equal(issuing.exitCode, 1)
    assert.match(issuing.stderr, /safe mode/)
    await host.ok('restore', 'release')
    const renewal = await host.ok('cert', 'renew', await idOf(host, 'c0.example.org'))
    assert.match(renewal.stdout, /succeeded/)
    await fittingKey(host, await idOf(host, 'c0.example.org'))
    await host.ok('audit', 'verify')
    assert.ok(api)
  })

  test(`${engine}: a restore over a living installation saves the present, and undo brings it back`, { skip }, async () => {
    await using host = await newHost(await environmentOf(engine))
    await host.furnish(1)
    const bundle = await host.backup()
    await host.ok('cert', 'issue', 'later.example.org')
    const present = await inventory(host)

    const busy = await host.cli('restore', 'apply', bundle)
    assert.equal(busy.exitCode, 11, busy.stderr)
    await host.stop()
    const plan = await host.ok('restore', 'plan', bundle)
    assert.match(plan.stdout, /certificates\s+2\s+1/)
    const applied = await host.ok('restore', 'apply', bundle, '--json')
    assert.match(String(applied.json.safetyBundle), /^certautopilot-backup-/)
    assert.equal(applied.json.epoch, 2)
    await host.start()
    assert.equal((await inventory(host)).length, 1)
    await host.stop()

    await host.ok('restore', 'undo')
    await host.start()
    assert.deepEqual(await inventory(host), present)
    assert.match((await host.ok('status')).stdout, /safe mode {2}off/)
    const again = await host.cli('restore', 'undo')
    assert.equal(again.exitCode, 11)
    await host.stop()
    assert.equal((await host.cli('restore', 'undo')).exitCode, 10)
  })

  test(`${engine}: a drill passes, names its isolation, and leaves nothing behind`, { skip }, async () => {
    await using host = await newHost(await environmentOf(engine))
    await host.furnish(2)
    await host.backup()
    const drill = await host.ok('drill', 'run', '--json')
    assert.equal(drill.json.outcome, 'passed')
    assert.notDeepEqual(drill.json.renewal, undefined)
    await host.ok('drill', 'verify')
    assert.match((await host.ok('drill', 'list')).stdout, /passed/)
    const { readdir } = await import('node:fs/promises')
    assert.deepEqual(
      (await readdir(host.paths.drills)).filter((name) => !/^[0-9a-z]{26}\.json$/.test(name)),
      [],
    )
  })
}

test('a certificate that is due is renewed by the clock, and its previous key goes after the next renewal', async () => {
  await using host = await newHost({ CERTAUTOPILOT_SCHEDULER_INTERVAL_SECONDS: '1' })
  await host.furnish(1)
  const id = await idOf(host, 'c0.example.org')
  const serials = new Set<string>()
  for (let round = 0; round < 3; round++) {
    serials.add(String((await host.ok('cert', 'show', id, '--json')).json.serial))
    await host.withStore(async (store) => {
      const certificate = await store.get<Certificate>('certificates', id)
      await store.commit([
        { replace: 'certificates', document: { ...(certificate as Certificate), next_renewal_at: new Date() } as Certificate },
      ])
    })
    for (const deadline = Date.now() + 20_000; ; ) {
      const serial = String((await host.ok('cert', 'show', id, '--json')).json.serial)
      if (!serials.has(serial)) break
      assert.ok(Date.now() < deadline, 'the certificate was not renewed')
    }
  }
  assert.equal(await host.withStore((store) => store.count('certificate_private_keys')), 2)
  await fittingKey(host, id)
})

test('embedded to MongoDB and back: the same certificates, keys and users', { skip: needs('SECANTUSD').skip }, async () => {
  await using first = await newHost()
  await first.furnish(2)
  const before = await inventory(first)
  await moveAndCheck(first, await environmentOf('mongodb'), before, async (second) => {
    await moveAndCheck(second, {}, before, async () => {})
  })
})

async function moveAndCheck(
  from: TestHost,
  environment: Record<string, string>,
  before: string[],
  next: (host: TestHost) => Promise<void>,
): Promise<void> {
  const bundle = await from.backup()
  await using to = await newHost(environment)
  await mkdir(to.home, { recursive: true })
  const copy = join(to.home, '..', bundle)
  await copyFile(join(from.paths.backups, bundle), copy)
  await to.ok('restore', 'apply', copy, '--identity', from.paths.recoveryKit)
  await copyFile(from.paths.recoveryKit, to.paths.recoveryKit)
  await to.start()
  assert.deepEqual(await inventory(to), before)
  await logInAsOwner(to)
  await fittingKey(to, await idOf(to, 'c0.example.org'))
  await to.ok('restore', 'release')
  await to.ok('cert', 'renew', await idOf(to, 'c1.example.org'))
  before.splice(0, before.length, ...(await inventory(to)))
  await next(to)
}

async function importSome(host: TestHost): Promise<void> {
  const folder = join(host.home, 'some')
  await mkdir(folder)
  const id = await idOf(host, 'c0.example.org')
  const pem = await host.ok('cert', 'download', id, '--format', 'pem')
  await writeFile(join(folder, 'a.pem'), (await host.ok('ca', 'show', 'Internal')).stdout)
  await writeFile(join(folder, 'b.txt'), 'not a certificate')
  await symlink('.', join(folder, 'loop'))
  await symlink('nowhere', join(folder, 'dangling'))
  const done = await host.ok('cert', 'import', folder)
  assert.match(done.stdout, /imported 2 certificates/)
  await writeFile(join(folder, 'c0.pem'), pem.stdout)
  assert.match((await host.ok('cert', 'import', folder)).stdout, /imported 0 certificates, 3 were there already/)
}

async function inventory(host: TestHost): Promise<string[]> {
  const run = await host.ok('cert', 'list', '--limit', '500', '--json')
  return (run.json.items as { name: string; serial: string }[]).map((item) => `${item.name} ${item.serial}`).sort()
}

async function idOf(host: TestHost, name: string): Promise<string> {
  const run = await host.ok('cert', 'list', '--search', name, '--json')
  const item = (run.json.items as { _id: string; name: string }[]).find((candidate) => candidate.name === name)
  return item?._id ?? assert.fail(`no certificate "${name}"`)
}

async function fittingKey(host: TestHost, id: string): Promise<void> {
  const certificate = new X509Certificate((await host.ok('cert', 'download', id)).stdout)
  const { createPrivateKey } = await import('node:crypto')
  assert.ok(certificate.checkPrivateKey(createPrivateKey((await host.ok('cert', 'download', id, '--format', 'key')).stdout)))
  assert.ok(!certificate.checkPrivateKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))
}

async function logInAsOwner(host: TestHost): Promise<void> {
  const { SocketClient } = await import('../../src/backup/host/socket-client.ts')
  const answer = await new SocketClient(host.paths.adminSocket).request('POST', '/api/v1/auth/login', {
    email: 'owner@example.org',
    password: ownerPassword,
  })
  assert.equal(JSON.parse(answer).role, 'owner')
}
