import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { newHost, type TestHost } from '../test-host.ts'

const script = fileURLToPath(new URL('../../packaging/systemd/certautopilot-backup', import.meta.url))
const mainScript = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
const few = { CERTAUTOPILOT_BACKUP_KEEP_DAILY: '1', CERTAUTOPILOT_BACKUP_KEEP_LEAST: '1' }

async function names(host: TestHost): Promise<string[]> {
  const { bundles } = (await host.ok('backup', 'list', '--json')).json as unknown as { bundles: { name: string }[] }
  return bundles.map(({ name }) => name)
}

test('after a good backup the ones that no rule keeps are gone, with everything beside them; a pinned one stays', async () => {
  await using host = await newHost(few)
  await host.furnish(1)
  const first = await host.backup()
  await host.ok('backup', 'pin', first, '--reason', 'before the move', '--until', '2099-01-01')
  const second = await host.backup()
  const made = (await host.ok('backup', 'create', '--json')).json as { bundle: string; retention: string }
  assert.equal(made.retention, `retention: removed ${second}`)
  assert.deepEqual(await names(host), [made.bundle, first])
  const files = await readdir(host.paths.backups)
  assert.ok(!files.some((file) => file.startsWith(second)), files.join(' '))

  const shown = await host.ok('backup', 'prune', '--dry-run')
  assert.match(shown.stdout, /pinned until 2099-01-01: before the move/)
  assert.match(shown.stdout, /one of the last 1 that verified; day \d{4}-\d\d-\d\d/)
  await host.ok('backup', 'unpin', first)
  const dry = (await host.ok('backup', 'prune', '--dry-run', '--json')).json as unknown as {
    removed: string[]
    bundles: { name: string; is_kept: boolean }[]
  }
  assert.deepEqual([dry.removed, dry.bundles.find(({ name }) => name === first)?.is_kept], [[], false])
  assert.equal((await names(host)).length, 2)
  await host.ok('backup', 'prune')
  assert.deepEqual(await names(host), [made.bundle])
  const audit = await host.ok('audit', 'list', '--json')
  assert.match(audit.stdout, /backup\.pruned/)
})

test('CAP_BACKUP_RETAIN_DAYS keeps everything younger, and a run without it does not undo that', async () => {
  await using host = await newHost(few)
  await host.furnish(1)
  await host.backup()
  const timer = await host.cliWith({ CAP_BACKUP_RETAIN_DAYS: '30' }, 'backup', 'create', '--json')
  assert.equal(timer.json.retention, 'retention: every bundle stays')
  const service = await host.ok('backup', 'create', '--json')
  assert.equal(service.json.retention, 'retention: every bundle stays')
  assert.equal((await names(host)).length, 3)
})

test('a failed backup removes nothing, and a pin of what is not there is refused', async () => {
  await using host = await newHost(few)
  await host.furnish(1)
  const first = await host.backup()
  const failed = await host.cliWith({ CERTAUTOPILOT_BACKUP_RECIPIENTS: 'age1nobody' }, 'backup', 'create')
  assert.notEqual(failed.exitCode, 0)
  assert.deepEqual(await names(host), [first])
  assert.equal((await host.cli('backup', 'pin', 'nothing.tar.age', '--reason', 'x')).exitCode, 10)
  assert.equal((await host.cli('backup', 'pin', first)).exitCode, 2)
  assert.equal((await host.cli('backup', 'pin', first, '--reason', 'x', '--until', '2001-01-01')).exitCode, 2)
})

test('the script of the timer takes a backup, keeps seven days by itself, and passes the exit code on', async () => {
  await using host = await newHost(few)
  await host.furnish(1)
  const command = join(host.home, 'certautopilot')
  await writeFile(command, `#!/bin/sh\nexec "${process.execPath}" "${mainScript}" "$@"\n`, { mode: 0o700 })
  const run = (environment: Record<string, string>, ...words: string[]) =>
    promisify(execFile)(script, words, {
      env: { PATH: process.env.PATH ?? '', CERTAUTOPILOT_HOME: host.home, CAP_COMMAND: command, ...environment },
    }).then(
      ({ stdout }) => ({ exitCode: 0, stdout }),
      (error: { code: number; stdout: string }) => ({ exitCode: error.code, stdout: error.stdout }),
    )
  const taken = await run({}, '--json')
  assert.equal(taken.exitCode, 0)
  assert.match(taken.stdout, /"retention":"retention: every bundle stays"/)
  assert.equal((await run({ CERTAUTOPILOT_BACKUP_RECIPIENTS: 'age1nobody' })).exitCode, 2)
  assert.deepEqual(JSON.parse(await host.read(join(host.paths.backups, 'retention.json')))[0].days, 7)
})

test('the script called by hand finds the folders of a host, and its default does not shorten what config.yaml keeps', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'certautopilot-root-'))
  t.after(() => rm(root, { recursive: true }))
  await using host = await newHost({ CERTAUTOPILOT_HOME: join(root, 'var/lib/certautopilot') })
  await host.ok('setup')
  const config = join(root, 'var/lib/certautopilot/config.yaml')
  await writeFile(config, (await host.read(config)).replace('backup:\n', 'backup:\n  retain_days: 30\n'))
  const command = join(root, 'certautopilot')
  await writeFile(command, `#!/bin/sh\nexec "${process.execPath}" "${mainScript}" "$@"\n`, { mode: 0o700 })
  await promisify(execFile)(script, [], { env: { PATH: process.env.PATH ?? '', CAP_ROOT: root, CAP_COMMAND: command } })
  const made = await readdir(join(root, 'var/backups/certautopilot'))
  assert.ok(
    made.some((name) => /^certautopilot-backup-.*\.tar\.age$/.test(name)),
    `${made}`,
  )
  const kept = JSON.parse(await host.read(join(root, 'var/backups/certautopilot/retention.json'))) as { days: number }[]
  assert.deepEqual(
    kept.map(({ days }) => days),
    [30],
  )
})

test('the service takes a backup that is due by itself, once, and says why', async () => {
  const settings = { CERTAUTOPILOT_BACKUP_SCHEDULE: '0 0 1 1 *', CERTAUTOPILOT_SCHEDULER_INTERVAL_SECONDS: '1' }
  await using host = await newHost({ ...settings, CERTAUTOPILOT_BACKUP_TIME_ZONE: 'Europe/Berlin' })
  const api = await host.furnish(1)
  for (const deadline = Date.now() + 30_000; (await names(host)).length === 0; ) {
    assert.ok(Date.now() < deadline, 'no backup within 30 s')
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  assert.equal((await names(host)).length, 1)
  const { items } = JSON.parse(await api.request('GET', '/api/v1/audit-logs?limit=500')) as {
    items: { event: string; actor: { kind: string }; data: { reason?: string } }[]
  }
  const requested = items.filter(({ event }) => event === 'backup.create.requested')
  assert.deepEqual(
    requested.map(({ actor, data }) => [actor.kind, data.reason?.replace(/\d{4}-12-31T23:00:00/, 'new year')]),
    [['system', 'planned for new year.000Z']],
  )
  assert.match(await api.request('GET', '/metrics'), /certautopilot_backup_expected_interval_seconds 3\d{7}/)
})
