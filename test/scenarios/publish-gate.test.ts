import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import type { AuditEntry } from '../../src/audit/audit.ts'
import type { PrivateKey } from '../../src/certificates/collections.ts'
import { newHost, type TestHost } from '../test-host.ts'

async function stoppedHost(): Promise<TestHost> {
  const host = await newHost()
  await host.furnish(3)
  await host.stop()
  return host
}

async function editKeys(host: TestHost, edit: (keys: PrivateKey[]) => PrivateKey[]): Promise<void> {
  await host.withStore(async (store) => {
    const { items } = await store.find<PrivateKey>('certificate_private_keys')
    await store.commit(edit(items).map((document) => ({ replace: 'certificate_private_keys', document })))
  })
}

test('a flipped ciphertext fails the backup with 20 and keeps it as damaged, with the list of what does not open', async () => {
  await using host = await stoppedHost()
  const good = await host.backup()
  await editKeys(host, ([key]) => {
    const ciphertext = Buffer.from(key?.encrypted_key.ciphertext as Buffer)
    ciphertext[5] = (ciphertext[5] as number) ^ 1
    return [{ ...(key as PrivateKey), encrypted_key: { ...(key as PrivateKey).encrypted_key, ciphertext } }]
  })
  const run = await host.cli('backup', 'create')
  assert.equal(run.exitCode, 20, run.stderr)
  assert.match(run.stderr, /1 of 6 envelopes/)
  assert.deepEqual(await host.bundles(), [good])
  const damaged = (await readdir(host.paths.backups)).find((name) => name.endsWith('.damaged.json')) as string
  const list = JSON.parse(await readFile(`${host.paths.backups}/${damaged}`, 'utf8')) as { failures: { collection: string }[] }
  assert.equal(list.failures[0]?.collection, 'certificate_private_keys')
  assert.match((await host.ok('backup', 'list')).stdout, /damaged: counts for nothing/)
  for (let time = 0; time < 4; time++) assert.equal((await host.cli('backup', 'create')).exitCode, 20)
  const kept = (await readdir(host.paths.backups)).filter((name) => name.endsWith('.damaged'))
  assert.equal(kept.length, 3, 'a cause that stays does not fill the disk')
  assert.ok(!kept.includes(damaged.replace('.json', '')), 'the newest are kept')
})

test('two envelopes swapped between records fail the backup with 20', async () => {
  await using host = await stoppedHost()
  await editKeys(host, ([a, b]) => [
    { ...(a as PrivateKey), encrypted_key: (b as PrivateKey).encrypted_key },
    { ...(b as PrivateKey), encrypted_key: (a as PrivateKey).encrypted_key },
  ])
  const run = await host.cli('backup', 'create', '--json')
  assert.equal(run.exitCode, 20)
  assert.equal(run.json.message_type, 'exit_error')
  assert.match(String(run.json.message), /2 of 6 envelopes/)
  assert.deepEqual(await host.bundles(), [])
})

test('an envelope that is missing altogether fails the backup with 20', async () => {
  await using host = await stoppedHost()
  await editKeys(host, ([key]) => [{ _id: (key as PrivateKey)._id, certificate_id: 'x', kek_version: 1 } as PrivateKey])
  assert.equal((await host.cli('backup', 'create')).exitCode, 20)
})

const kek = (hex: string) => `CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V1=${hex}`

test('a backup whose captured key does not open its database never gets a name: 22, and the hint names the relation', async () => {
  await using host = await stoppedHost()
  const secrets = await host.read(host.paths.secrets)
  const other = randomBytes(32).toString('hex')
  await writeFile(host.paths.secrets, secrets.replace(/CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V1=.*/, kek(other)))
  const changed = await host.cli('backup', 'create')
  assert.equal(changed.exitCode, 22)
  assert.match(changed.stderr, /KEK fingerprint mismatch/)
  assert.match(changed.stderr, /same versions hold different keys/)
  await writeFile(
    host.paths.secrets,
    secrets.replace(/CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V1=.*/, kek(other)).replace(/INSTALLATION_ID=.*/, 'INSTALLATION_ID=other'),
  )
  assert.match((await host.cli('backup', 'create')).stderr, /unrelated/)
  await writeFile(host.paths.secrets, secrets.replace('KEK_V1=', 'KEK_V2='))
  assert.match((await host.cli('serve')).stderr, /database is older than the secrets/)
  assert.deepEqual(await host.bundles(), [])
  await writeFile(host.paths.secrets, secrets)
  await host.ok('kek', 'verify')
  await host.ok('kek', 'status')
  assert.equal((await host.cli('kek', 'verify', '--target', '2')).exitCode, 22)
})

test('a KEK that is too short, not hex, or one byte repeated is refused by name', async () => {
  await using host = await newHost()
  await host.ok('setup')
  const secrets = await host.read(host.paths.secrets)
  for (const [bad, reason] of [
    ['abcd', /has 4 hex digits/],
    ['z'.repeat(64), /not hex/],
    ['0'.repeat(64), /one byte repeated/],
  ] as const) {
    await writeFile(host.paths.secrets, secrets.replace(/KEK_V1=.*/, `KEK_V1=${bad}`))
    const run = await host.cli('serve')
    assert.equal(run.exitCode, 2)
    assert.match(run.stderr, reason)
    assert.match(run.stderr, /CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V1/)
  }
})

test('secrets that a service could not start without stop a backup, by name', async () => {
  await using host = await stoppedHost()
  await writeFile(host.paths.secrets, (await host.read(host.paths.secrets)).replace(/CERTAUTOPILOT_JWT_SECRET=.*\n/, ''))
  const run = await host.cli('backup', 'create')
  assert.equal(run.exitCode, 2)
  assert.match(run.stderr, /"CERTAUTOPILOT_JWT_SECRET" missing/)
})

test('a count that falls by more than the limit marks the bundle suspect', async () => {
  await using host = await stoppedHost()
  await host.backup()
  await host.withStore(async (store) => {
    const { items } = await store.find('certificates')
    await store.commit(items.slice(0, 2).map(({ _id }) => ({ remove: 'certificates', id: _id })))
  })
  const run = await host.ok('backup', 'create', '--json')
  assert.match(String(run.json.suspect), /"certificates" fell from 3/)
  assert.match((await host.ok('backup', 'list')).stdout, /SUSPECT/)
  const still = await host.ok('backup', 'create', '--json')
  assert.match(String(still.json.suspect), /fell from 3/)
  assert.match(String(still.json.retention), /is suspect .*"backup accept"/)

  const bundle = String(still.json.bundle)
  assert.equal((await host.cli('backup', 'accept', bundle)).exitCode, 2, 'a reason is asked for')
  await host.ok('backup', 'accept', bundle, '--reason', 'two were revoked')
  assert.equal((await host.cli('backup', 'accept', bundle, '--reason', 'again')).exitCode, 2)
  const next = await host.ok('backup', 'create', '--json')
  assert.equal(next.json.suspect, '')
  assert.match(String(next.json.retention), /^retention: removed/, 'it goes on')
})

test('two backups at once: one has the lock, the other says so with 11', async () => {
  await using host = await stoppedHost()
  const runs = await Promise.all([host.cli('backup', 'create'), host.cli('backup', 'create'), host.cli('backup', 'create')])
  const codes = runs.map((run) => run.exitCode).sort()
  assert.ok(
    codes.every((code) => code === 0 || code === 11),
    codes.join(),
  )
  assert.ok(codes.includes(0))
  const { items } = await host.withStore((store) => store.find<AuditEntry>('audit_logs', { limit: 500 }))
  assert.ok(!items.some(({ event }) => event === 'backup.failed'), 'that another one runs is no failure to wake anybody for')
})

test('an interrupted backup exits with 130 and leaves nothing that could be taken for a bundle', async () => {
  await using host = await stoppedHost()
  const child = host.spawn(['backup', 'create'])
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  await new Promise((resolve) => setTimeout(resolve, 150))
  child.kill('SIGINT')
  const code = await exited
  assert.ok(code === 130 || code === 0 || code === null, `exit ${code}`)
  if (code !== 0) assert.deepEqual(await host.bundles(), [])
})

test('a verification by command that fails is in the audit log, from where people are told; the next that passes ends it', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  const path = `${host.paths.backups}/${bundle}`
  const good = await readFile(path)
  const bad = Buffer.from(good)
  bad[bad.length >> 1] = (bad[bad.length >> 1] as number) ^ 1
  await writeFile(path, bad)
  assert.equal((await host.cli('backup', 'verify', bundle)).exitCode, 23)
  const audit = await host.ok('audit', 'list', '--json')
  assert.ok(audit.stdout.includes(`"event":"backup.unverified","subject":"${bundle}"`), audit.stdout)
  assert.match((await host.ok('backup', 'list')).stdout, /FAILED its verification/)
  await writeFile(path, good)
  await host.ok('backup', 'verify', bundle)
  assert.doesNotMatch((await host.ok('backup', 'list')).stdout, /FAILED/)

  await using bare = await newHost()
  assert.equal((await bare.cli('backup', 'verify', bundle)).exitCode, 10)
  assert.deepEqual(await readdir(bare.home).catch(() => []), [], 'a machine without a database gets none by verifying')
})
