import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemActor } from '../audit/audit.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type Config, settingKeys, settings } from '../config/schema.ts'
import { collections } from '../host.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import { openEmbeddedStore } from '../store/embedded/store.ts'
import type { Store, StoredDocument } from '../store/store.ts'
import { backupJobKinds, requestBackupJob } from './backup-jobs.ts'
import type { Catalogue, CatalogueEntry } from './catalogue.ts'
import { expectedIntervalSeconds, lastRunTime, noteOverdueBackup, noteOverdueDrill, whyBackupIsDue } from './due-backup.ts'
import { recordPoint } from './last-point.ts'
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

function partsWith(
  takenAt: string | undefined,
  changed: Partial<Config> = {},
  isTimerArmed = false,
  had = { authorities: 0, versions: 0 },
): BackupParts {
  const collections = [
    { name: 'certificate_authorities', count: had.authorities },
    { name: 'kek_versions', count: had.versions },
  ]
  const manifest = { installation_id: 'ours', point_in_time: { taken_at: takenAt }, collections, kek: { active_version: 1 } }
  const entry = {
    name: 'a',
    isDamaged: false,
    sidecar: { manifest },
    state: { verified_level: 'full' },
  } as unknown as CatalogueEntry
  return {
    clock: { now: () => now },
    config: configWith(changed),
    catalogue: { directory: '/here', list: async () => (takenAt === undefined ? [] : [entry]) },
    secretStore: { capture: async () => Buffer.alloc(0) },
    keysIn: () => ({ installationId: 'ours' }),
    isTimerArmed: () => isTimerArmed,
  } as unknown as BackupParts
}

function manifestAt(at: string): Manifest {
  return { point_in_time: { taken_at: at }, collections: [], kek: { active_version: 1 } } as unknown as Manifest
}

function installed(at: string): StoredDocument & { created_at: Date } {
  return { _id: 'install', created_at: new Date(at) }
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
  const authority = { _id: 'ca', name: 'ca', created_at: new Date('2026-11-24T10:00:00Z') }
  await store.commit([{ insert: 'certificate_authorities', document: authority }])
  assert.equal(await whyBackupIsDue(good, store), 'a new CA')
  await store.commit([queuedJob(backupJobKinds.create, 'host', systemActor, new Date(now.getTime() - 60_000)).change])
  assert.equal(await whyBackupIsDue(good, store), undefined, 'at most once in a while')
})

test('a CA in place of another, a new KEK and another active one ask for a backup', async (t) => {
  const store = await emptyStore(t)
  const good = partsWith('2026-11-24T03:15:02Z', {}, false, { authorities: 1, versions: 1 })
  const authority = (id: string, day: string) => ({ _id: id, name: id, created_at: new Date(day) })
  const version = (number: number, state: string) => ({ _id: String(number), version: number, state })
  const [before, first] = [authority('before', '2026-01-01'), version(1, 'active')]
  await store.commit([
    { insert: 'certificate_authorities', document: before },
    { insert: 'kek_versions', document: first },
  ])
  assert.equal(await whyBackupIsDue(good, store), undefined)
  await store.commit([
    { remove: 'certificate_authorities', id: 'before' },
    { insert: 'certificate_authorities', document: authority('after', '2026-11-24T10:00:00Z') },
  ])
  assert.equal(await whyBackupIsDue(good, store), 'a new CA')
  await store.commit([{ remove: 'certificate_authorities', id: 'after' }])
  await store.commit([{ insert: 'kek_versions', document: version(2, 'readable') }])
  assert.equal(await whyBackupIsDue(good, store), 'a new KEK')
  const both = partsWith('2026-11-24T03:15:02Z', {}, false, { authorities: 1, versions: 2 })
  assert.equal(await whyBackupIsDue(both, store), undefined)
  await store.commit([
    { replace: 'kek_versions', document: version(1, 'readable') },
    { replace: 'kek_versions', document: version(2, 'active') },
  ])
  assert.equal(await whyBackupIsDue(both, store), 'another active KEK')
})

test('while backups fail, a change asks for them ever more rarely, and a planned one is tried at its time', async (t) => {
  const store = await emptyStore(t)
  const authority = { _id: 'ca', name: 'ca', created_at: new Date('2026-11-24T10:00:00Z') }
  await store.commit([{ insert: 'certificate_authorities', document: authority }])
  const good = partsWith('2026-11-24T03:15:02Z')
  const failed = (minutesAgo: number, attempts: number) => {
    const { job } = queuedJob(backupJobKinds.create, 'host', systemActor, new Date(now.getTime() - minutesAgo * 60_000))
    return { ...job, state: 'dead', attempts } as Job
  }
  const tried = failed(20, 1)
  await store.commit([{ insert: 'jobs', document: tried }])
  assert.equal(await whyBackupIsDue(good, store), undefined, '30 minutes after the first')
  await store.commit([{ remove: 'jobs', id: tried._id }])
  await store.commit([{ insert: 'jobs', document: failed(31, 1) }])
  assert.equal(await whyBackupIsDue(good, store), 'a new CA')
  await store.commit([{ insert: 'jobs', document: failed(200, 4) }])
  assert.equal(await whyBackupIsDue(good, store), undefined, 'five in a row: 8 hours')
  assert.match(
    (await whyBackupIsDue(partsWith('2026-11-22T03:15:02Z', { 'backup.schedule': '55 11 * * *' }), store)) ?? '',
    /planned/,
  )
})

test('one that waits for its next attempt is brought forward by whoever asks', async (t) => {
  const store = await emptyStore(t)
  const { job } = queuedJob(backupJobKinds.create, 'host', systemActor, now)
  const waiting: Job = { ...job, attempts: 5, run_at: new Date('2026-11-25T12:00:00Z') }
  await store.commit([{ insert: 'jobs', document: waiting }])
  const asked = await requestBackupJob(store, systemActor, backupJobKinds.create, 'host', now)
  assert.equal(asked._id, job._id)
  assert.deepEqual((await store.get<Job & { _id: string }>('jobs', job._id))?.run_at, now)
})

test('what another host has taken counts; what a wrong clock has dated into the future does not', async (t) => {
  const store = await emptyStore(t)
  const elsewhere = { clock: { now: () => now }, catalogue: { directory: '/there' } as Catalogue }
  const taken = (at: string) => recordPoint(elsewhere, store, 'theirs', manifestAt(at))
  await taken('2027-12-24T03:16:00Z')
  for (const here of ['2026-11-23T03:15:02Z', '2027-12-28T03:15:02Z', undefined])
    assert.match((await whyBackupIsDue(partsWith(here), store)) ?? '', /planned/)
  assert.equal(await noteOverdueBackup(partsWith('2027-12-28T03:15:02Z'), store), false, 'a new installation is not late')
  await store.commit([{ insert: 'kek_install', document: installed('2026-11-01T00:00:00Z') }])
  assert.equal(await noteOverdueBackup(partsWith('2027-12-28T03:15:02Z'), store), true)

  await taken('2026-11-24T03:16:00Z')
  await taken('2026-11-22T03:16:00Z')
  assert.equal(await whyBackupIsDue(partsWith('2026-11-23T03:15:02Z'), store), undefined, 'the newer one stays')
  assert.equal(await whyBackupIsDue(partsWith(undefined), store), undefined)
})

test('of several hosts that write down their first backup at once the newest stays', async (t) => {
  const store = await emptyStore(t)
  const times = Array.from({ length: 5 }, (_, n) => `2026-11-24T03:1${n}:00Z`)
  await Promise.all(
    times.map((at, n) =>
      recordPoint({ clock: { now: () => now }, catalogue: { directory: `/${n}` } as Catalogue }, store, `of ${n}`, manifestAt(at)),
    ),
  )
  assert.equal((await store.get<StoredDocument & { bundle: string }>('backup_points', 'last'))?.bundle, 'of 4')
})

test('what this host took and has no more does not count, nor does a bundle of somebody else', async (t) => {
  const store = await emptyStore(t)
  await store.commit([{ insert: 'kek_install', document: installed('2026-11-01T00:00:00Z') }])
  const lost = partsWith(undefined)
  await recordPoint(lost, store, 'lost', manifestAt('2026-11-24T03:16:00Z'))
  assert.equal(await noteOverdueBackup(lost, store), true, 'its folder is empty')
  const stranger = partsWith('2026-11-24T03:16:00Z')
  assert.equal(await whyBackupIsDue(stranger, store), undefined)
  const theirs = { ...stranger, keysIn: () => ({ installationId: 'another' }) } as unknown as BackupParts
  assert.match((await whyBackupIsDue(theirs, store)) ?? '', /planned/)
})

test('a backup that began before its planned time and ended after it does not stand for the planned one', async (t) => {
  const store = await emptyStore(t)
  const { job } = queuedJob(backupJobKinds.create, 'host', systemActor, new Date('2026-11-24T03:14:50Z'))
  const done = { at: new Date('2026-11-24T03:15:20Z'), text: 'done' }
  const succeeded: Job = { ...job, state: 'succeeded', steps: [...job.steps, done] }
  await store.commit([{ insert: 'jobs', document: succeeded }])
  assert.match((await whyBackupIsDue(partsWith('2026-11-24T03:14:51Z'), store)) ?? '', /planned/)
})

test('that no backup followed a planned time is told once', async (t) => {
  const store = await emptyStore(t)
  const told = async (takenAt: string | undefined) => noteOverdueBackup(partsWith(takenAt), store)
  assert.equal(await told('2026-11-24T03:15:02Z'), false)
  await store.commit([{ insert: 'kek_install', document: installed('2026-11-24T04:00:00Z') }])
  assert.equal(await told(undefined), false, 'a new installation is not late')
  await store.commit([{ replace: 'kek_install', document: installed('2026-11-20T04:00:00Z') }])
  assert.equal(await told('2026-11-23T03:15:02Z'), true)
  assert.equal(await told(undefined), false, 'it was told')
  await store.commit([{ remove: 'locks', id: 'told: backup overdue 2026-11-24T03:15:00.000Z' }])
  await store.commit([{ remove: 'audit_logs', id: (await store.find<{ _id: string }>('audit_logs')).items[0]?._id ?? '' }])
  assert.equal(await told(undefined), true, 'an older one that never had a backup, or has lost them all, is')
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
