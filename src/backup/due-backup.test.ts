import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemActor } from '../audit/audit.ts'
import { type Config, settingKeys, settings } from '../config/schema.ts'
import { collections } from '../host.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import { openEmbeddedStore } from '../store/embedded/store.ts'
import type { Store } from '../store/store.ts'
import { backupJobKinds } from './backup-jobs.ts'
import type { CatalogueEntry } from './catalogue.ts'
import { expectedIntervalSeconds, lastRunTime, noteOverdueBackup, noteOverdueDrill, whyBackupIsDue } from './due-backup.ts'
import type { BackupParts } from './parts.ts'

const now = new Date('2026-11-24T12:00:00Z')

async function emptyStore(t: { after(run: () => Promise<void>): void }): Promise<Store> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-due-'))
  const store = openEmbeddedStore({ path: join(folder, 'a.db'), databaseName: 'a' })
  t.after(async () => {
    await store.close()
    await rm(folder, { recursive: true })
  })
  await store.prepare(collections)
  return store
}

function configWith(changed: Partial<Config>): Config {
  const defaults = Object.fromEntries(settingKeys.map((key) => [key, settings[key].default]))
  return { ...defaults, 'backup.time_zone': 'UTC', ...changed } as Config
}

function partsWith(takenAt: string | undefined, changed: Partial<Config> = {}, isTimerArmed = false): BackupParts {
  const collections = [
    { name: 'certificate_authorities', count: 0 },
    { name: 'kek_versions', count: 0 },
  ]
  const manifest = { point_in_time: { taken_at: takenAt }, collections }
  const entry = {
    name: 'a',
    isDamaged: false,
    sidecar: { manifest },
    state: { verified_level: 'full' },
  } as unknown as CatalogueEntry
  return {
    clock: { now: () => now },
    config: configWith(changed),
    catalogue: { list: async () => (takenAt === undefined ? [] : [entry]) },
    isTimerArmed: () => isTimerArmed,
  } as unknown as BackupParts
}

test('the schedule follows the zone over its changes of clock', () => {
  const berlin = configWith({ 'backup.time_zone': 'Europe/Berlin', 'backup.schedule': '30 2 * * *' })
  assert.equal(lastRunTime(berlin, new Date('2026-10-26T12:00:00Z'))?.toISOString(), '2026-10-26T01:30:00.000Z')
  assert.equal(lastRunTime(berlin, new Date('2026-10-24T12:00:00Z'))?.toISOString(), '2026-10-24T00:30:00.000Z')
  const skipped = lastRunTime(berlin, new Date('2026-03-29T12:00:00Z')) as Date
  assert.equal(
    skipped.toISOString().slice(0, 10),
    '2026-03-29',
    '02:30 does not exist on that day, and a backup is taken all the same',
  )
  assert.equal(expectedIntervalSeconds(berlin, now), 86_400)
  assert.equal(expectedIntervalSeconds(configWith({ 'backup.schedule': 'off' }), now), undefined)
})

test('a backup is due when its time has passed, and not again after an attempt', async (t) => {
  const store = await emptyStore(t)
  assert.match((await whyBackupIsDue(partsWith('2026-11-23T03:15:02Z'), store)) ?? '', /planned for 2026-11-24T03:15/)
  assert.match((await whyBackupIsDue(partsWith(undefined), store)) ?? '', /planned/)
  assert.equal(await whyBackupIsDue(partsWith('2026-11-24T03:15:02Z'), store), undefined)
  assert.equal(await whyBackupIsDue(partsWith(undefined, {}, true), store), undefined, 'the timer takes it')
  assert.equal(await whyBackupIsDue(partsWith(undefined, { 'backup.schedule': 'off' }), store), undefined)
  await store.commit([queuedJob(backupJobKinds.create, 'host', systemActor, new Date('2026-11-24T03:16:00Z')).change])
  assert.equal(await whyBackupIsDue(partsWith('2026-11-23T03:15:02Z'), store), undefined, 'it was tried')
})

test('a new CA and many new keys ask for a backup of their own', async (t) => {
  const store = await emptyStore(t)
  const good = partsWith('2026-11-24T03:15:02Z', { 'backup.after_new_keys': 2 })
  assert.equal(await whyBackupIsDue(good, store), undefined)
  const key = (id: string, created_at: Date) => ({ insert: 'certificate_private_keys', document: { _id: id, created_at } })
  await store.commit([key('old', new Date('2026-11-23T00:00:00Z')), key('one', new Date('2026-11-24T08:00:00Z'))])
  assert.equal(await whyBackupIsDue(good, store), undefined)
  await store.commit([key('two', new Date('2026-11-24T09:00:00Z'))])
  assert.equal(await whyBackupIsDue(good, store), '2 new private keys')
  await store.commit([{ insert: 'certificate_authorities', document: { _id: 'ca', name: 'ca' } as never }])
  assert.equal(await whyBackupIsDue(good, store), 'a new CA')
  await store.commit([queuedJob(backupJobKinds.create, 'host', systemActor, new Date(now.getTime() - 60_000)).change])
  assert.equal(await whyBackupIsDue(good, store), undefined, 'at most once in a while')
})

test('that no backup followed a planned time is told once', async (t) => {
  const store = await emptyStore(t)
  const told = async (takenAt: string | undefined) => noteOverdueBackup(partsWith(takenAt), store)
  assert.equal(await told('2026-11-24T03:15:02Z'), false)
  assert.equal(await told(undefined), false, 'a new installation is not late')
  const { job } = queuedJob(backupJobKinds.create, 'host', systemActor, new Date('2026-11-24T03:15:30Z'))
  const succeeded: Job = { ...job, state: 'succeeded' }
  await store.commit([{ insert: 'jobs', document: succeeded }])
  assert.equal(await told('2026-11-23T03:15:02Z'), false, 'another host has taken it')
  await store.commit([{ remove: 'jobs', id: job._id }])
  assert.equal(await told('2026-11-23T03:15:02Z'), true)
  assert.equal(await told('2026-11-23T03:15:02Z'), false, 'it was told')
  assert.equal(await store.count('audit_logs'), 1)
})

test('a drill that is overdue is told of once, from the last that passed or from the oldest bundle', async (t) => {
  const store = await emptyStore(t)
  const parts = (startedAt: string[], outcome: 'passed' | 'failed' = 'passed') => {
    const bundle = {
      name: 'a',
      isDamaged: false,
      sidecar: { manifest: { created_at: '2026-08-01T00:00:00Z' } },
      state: { verified_level: 'full' },
    }
    const drills = startedAt.map((started_at) => ({ report: { started_at, outcome } }))
    const catalogue = { list: async () => [bundle] }
    return { ...partsWith(undefined), catalogue, drills: { list: async () => drills } } as unknown as BackupParts
  }
  assert.equal(await noteOverdueDrill(parts(['2026-11-01T00:00:00Z', '2026-01-01T00:00:00Z']), store), false)
  assert.equal(await noteOverdueDrill(parts(['2026-08-02T00:00:00Z']), store), true)
  assert.equal(await noteOverdueDrill(parts(['2026-08-02T00:00:00Z']), store), false, 'once')
  assert.equal(await noteOverdueDrill(parts([]), store), true, 'never, and the oldest bundle is of August')
  assert.equal(
    await noteOverdueDrill(parts(['2026-11-01T00:00:00Z'], 'failed'), store),
    false,
    'one that failed is none, and that was said',
  )
  const { items } = await store.find<{ _id: string; event: string }>('audit_logs')
  assert.deepEqual(
    items.map(({ event }) => event),
    ['drill.overdue', 'drill.overdue'],
  )
})
