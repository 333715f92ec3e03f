import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import jsqr from 'jsqr'
import { newHost, until } from '../test-host.ts'

test('a second person gets a kit that opens the next bundle; the last one is never removed', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const before = await host.backup()
  const kit = join(host.home, 'anna.txt')
  const made = await host.ok('backup', 'key', 'create', '--output', kit, '--json')
  const recipient = String(made.json.recipient)
  assert.equal((await stat(kit)).mode & 0o777, 0o600)
  assert.equal((await host.cli('backup', 'key', 'create', '--output', kit)).exitCode, 1, 'a kit is never overwritten')
  assert.match(await host.read(host.paths.config), /^# Settings of CertAutopilot/, 'comments stay')

  const after = await host.backup()
  await host.ok('backup', 'key', 'test', '--identity', kit)
  const listed = (await host.ok('backup', 'key', 'list', '--json')).json as unknown as {
    people: string[]
    recovery_proven_at: string
    proofs: { recipient: string; is_recovery_proven: boolean }[]
  }
  assert.equal(listed.people.length, 2)
  assert.ok(listed.recovery_proven_at.startsWith('20'))
  assert.deepEqual(
    listed.proofs.map((proof) => proof.is_recovery_proven),
    listed.people.map((known) => known === recipient),
    'the other kit has not been tried',
  )
  const shown = (await host.ok('backup', 'show', after, '--json')).json as unknown as { artefact: { recipients: string[] } }
  assert.ok(shown.artefact.recipients.includes(recipient))
  await host.ok('backup', 'verify', before, '--identity', host.paths.recoveryKit)

  const first = listed.people.find((known) => known !== recipient) as string
  await host.ok('backup', 'key', 'remove', first)
  const last = await host.cli('backup', 'key', 'remove', recipient)
  assert.equal(last.exitCode, 24)
  assert.match(last.stderr, /the last person/)
  assert.equal((await host.cli('backup', 'key', 'remove', first)).exitCode, 10)
  await host.ok('backup', 'key', 'add', first)
  assert.equal((await host.cli('backup', 'key', 'add', 'AGE-SECRET-KEY-1ABC')).exitCode, 2)
  const overridden = await host.cliWith({ CERTAUTOPILOT_BACKUP_RECIPIENTS: first }, 'backup', 'key', 'remove', recipient)
  assert.notEqual(overridden.exitCode, 0)
})

test('a kit is printed again with where copies are, for its own identity only', async () => {
  await using host = await newHost()
  await host.ok('setup')
  const target = { CERTAUTOPILOT_BACKUP_TARGETS: 'nas=disk:///mnt/nas' }
  const printed = await host.cliWith(target, 'backup', 'key', 'kit', '--identity', host.paths.recoveryKit)
  assert.match(printed.stdout, /# copies {8}disk:\/\/\/mnt\/nas\n/)
  const identity = (await host.read(host.paths.recoveryKit)).match(/AGE-SECRET-KEY-\S+/)?.[0] as string
  assert.ok(printed.stdout.includes(identity))

  const page = (await host.cliWith(target, 'backup', 'key', 'kit', '--identity', host.paths.recoveryKit, '--page')).stdout
  assert.equal(decodedQr(page), identity, 'what a phone reads is the identity')
  const installation = (await host.read(host.paths.secrets)).match(/INSTALLATION_ID=(\S+)/)?.[1] as string
  const signer = printed.stdout.match(/ed25519:\S+/)?.[0] as string
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  for (const fact of [installation, signer, version, 'disk:///mnt/nas', 'restore apply', 'age -d -i', identity])
    for (const form of [printed.stdout, page]) assert.ok(form.includes(fact.replaceAll('&', '&amp;')), `${fact} is missing`)

  const stranger = join(host.home, 'stranger.txt')
  await host.ok('backup', 'key', 'create', '--output', stranger)
  const text = await host.read(stranger)
  await host.ok('backup', 'key', 'remove', text.match(/recipient {5}(age1\S+)/)?.[1] as string)
  assert.equal((await host.cli('backup', 'key', 'kit', '--identity', stranger)).exitCode, 12)
  await writeFile(stranger, 'nothing')
  assert.equal((await host.cli('backup', 'key', 'kit', '--identity', stranger)).exitCode, 2)
})

test('a passphrase protects a kit; without it nothing opens, on a bare machine neither', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  const kit = join(host.home, 'protected.txt')
  const right = { CERTAUTOPILOT_PASSPHRASE: 'correct horse battery' }
  const words = ['backup', 'key', 'protect', '--identity', host.paths.recoveryKit, '--output', kit]
  assert.equal((await host.cliWith({ CERTAUTOPILOT_PASSPHRASE: 'short' }, ...words)).exitCode, 2)
  assert.equal((await host.cliWith(right, ...words)).exitCode, 0)
  const text = await host.read(kit)
  assert.doesNotMatch(text, /AGE-SECRET-KEY/)
  assert.match(text, /passphrase +protects the identity/)

  const test = ['backup', 'key', 'test', '--identity', kit]
  assert.equal((await host.cliWith(right, ...test)).exitCode, 0)
  const wrong = await host.cliWith({ CERTAUTOPILOT_PASSPHRASE: 'wrong horse battery' }, ...test)
  assert.equal(wrong.exitCode, 12, wrong.stderr)
  assert.match(wrong.stderr, /the passphrase does not open the identity/)
  assert.ok(!wrong.stderr.includes('wrong horse'))
  const silent = await host.cli(...test)
  assert.equal(silent.exitCode, 2)
  assert.match(silent.stderr, /CERTAUTOPILOT_PASSPHRASE/)
  const again = await host.cliWith(right, 'backup', 'key', 'kit', '--identity', kit, '--page')
  assert.match(again.stdout, /<svg/)
  assert.doesNotMatch(again.stdout, /AGE-SECRET-KEY/)

  await host.stop()
  await using bare = await newHost()
  const applied = await bare.cliWith(right, 'restore', 'apply', join(host.paths.backups, bundle), '--identity', kit)
  assert.equal(applied.exitCode, 0, applied.stderr)
})

test('without an identity of this host bundles are for people only: copies are the same bytes, and people verify', async () => {
  await using host = await newHost({ CERTAUTOPILOT_BACKUP_HOST_IDENTITY: 'false' })
  const folder = join(host.home, '..', 'nas')
  await mkdir(folder, { recursive: true })
  const target = { CERTAUTOPILOT_BACKUP_TARGETS: `nas=disk://${folder}` }
  await host.furnish(1)
  const made = await host.cliWith(target, 'backup', 'create', '--json')
  assert.equal(made.exitCode, 0, made.stderr)
  const { bundle, recipients } = made.json as { bundle: string; recipients: string[] }
  assert.equal(recipients.length, 1)
  const [copy, own] = await Promise.all([readFile(join(folder, bundle)), readFile(join(host.paths.backups, bundle))])
  assert.ok(copy.equals(own))
  assert.equal((await host.cli('backup', 'verify')).exitCode, 12)
  await host.ok('backup', 'verify', '--identity', host.paths.recoveryKit)
  await host.ok('drill', 'run', '--identity', host.paths.recoveryKit)
  assert.match((await host.ok('backup', 'key', 'list')).stdout, /this host +no: backup.host_identity is false/)
})

test('whom bundles are sealed to, and where copies go, counts for a service that runs', async (t) => {
  await using host = await newHost()
  const api = await host.furnish(1)
  const nas = await mkdtemp(join(tmpdir(), 'certautopilot-keys-'))
  t.after(() => rm(nas, { recursive: true }))
  const kit = join(host.home, 'anna.txt')
  const made = await host.ok('backup', 'key', 'create', '--output', kit, '--json')
  const early = await host.cli('backup', 'key', 'test', '--identity', kit)
  assert.equal(early.exitCode, 10, 'there is no bundle yet')
  await writeFile(
    host.paths.config,
    (await host.read(host.paths.config)).replace('backup:\n', `backup:\n  targets: [nas=disk://${nas}]\n`),
  )
  await api.request('POST', '/api/v1/backups')
  await until(async () => (await readdir(nas)).some((name) => name.endsWith('.manifest.json')), 'the copy is there')
  const [bundle = ''] = await host.bundles()
  const shown = (await host.ok('backup', 'show', bundle, '--json')).json as unknown as { artefact: { recipients: string[] } }
  assert.ok(shown.artefact.recipients.includes(String(made.json.recipient)))

  const late = join(host.home, 'late.txt')
  await host.ok('backup', 'key', 'create', '--output', late)
  const untimely = await host.cli('backup', 'key', 'test', '--identity', late)
  assert.equal(untimely.exitCode, 12)
  assert.match(untimely.stderr, /was sealed before this kit was added\n.*backup create/)
  const nowhere = await host.cli('backup', 'key', 'create', '--output', join(host.home, 'no-medium', 'kit.txt'))
  assert.equal(nowhere.exitCode, 10)
  assert.match((await host.ok('audit', 'list', '--json')).stdout, /backup\.recipients-changed/)
})

test('a kit that is not in force any more, or opened a bundle over a year ago, proves nothing', async () => {
  await using host = await newHost()
  const api = await host.furnish(1)
  await host.backup()
  const said = async () => {
    const { recoverability } = JSON.parse(await api.request('GET', '/api/v1/overview')) as {
      recoverability: { is_recovery_proven: boolean; recovery_proven_at: string | null }
    }
    const metric = (await api.request('GET', '/metrics')).match(/certautopilot_recovery_last_proven_timestamp_seconds (\d+)/)?.[1]
    const isProven = recoverability.is_recovery_proven
    return { isProven, metric: Number(metric), status: (await host.ok('status')).stdout.match(/recovery +(.*)/)?.[1] ?? '' }
  }
  const before = await said()
  assert.deepEqual([before.isProven, before.metric], [false, 0])
  assert.match(before.status, /^unproven: no recovery kit/)

  await host.ok('backup', 'key', 'test', '--identity', host.paths.recoveryKit)
  const proven = await said()
  assert.equal(proven.isProven, true)
  assert.ok(proven.metric > Date.now() / 1000 - 60)
  assert.match(proven.status, /^proven /)

  const path = `${host.paths.backups}/standing.json`
  const standing = JSON.parse(await host.read(path)) as { proven: Record<string, string> }
  const [recipient] = Object.keys(standing.proven) as [string]
  const longAgo = new Date(Date.now() - 366 * 86_400_000).toISOString()
  await writeFile(path, JSON.stringify({ ...standing, proven: { [recipient]: longAgo } }))
  const old = await said()
  assert.equal(old.isProven, false)
  assert.match(old.status, /^unproven for over a year/)

  await writeFile(path, JSON.stringify({ ...standing, proven: { age1another: new Date().toISOString() } }))
  assert.match((await said()).status, /^unproven: no recovery kit that is in force/)
})

/** Reads the QR code of a page as a camera would: by its picture. */
function decodedQr(page: string): string | undefined {
  const width = Number(page.match(/viewBox="0 0 (\d+) /)?.[1])
  const pixels = new Uint8ClampedArray(width * width * 4).fill(255)
  for (const [, left, top, size] of page.matchAll(/M(\d+),(\d+)h(\d+)v\3h-\3z/g)) {
    for (let y = Number(top); y < Number(top) + Number(size); y++)
      for (let x = Number(left); x < Number(left) + Number(size); x++) pixels.set([0, 0, 0], (y * width + x) * 4)
  }
  return (jsqr as unknown as { default: typeof jsqr.default }).default(pixels, width, width)?.data
}
