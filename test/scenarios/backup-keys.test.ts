import assert from 'node:assert/strict'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { newHost } from '../test-host.ts'

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
  }
  assert.equal(listed.people.length, 2)
  assert.ok(listed.recovery_proven_at.startsWith('20'))
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
  const stranger = join(host.home, 'stranger.txt')
  await host.ok('backup', 'key', 'create', '--output', stranger)
  const text = await host.read(stranger)
  await host.ok('backup', 'key', 'remove', text.match(/recipient {5}(age1\S+)/)?.[1] as string)
  assert.equal((await host.cli('backup', 'key', 'kit', '--identity', stranger)).exitCode, 12)
  await writeFile(stranger, 'nothing')
  assert.equal((await host.cli('backup', 'key', 'kit', '--identity', stranger)).exitCode, 2)
})
