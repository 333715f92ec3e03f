import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { dayMs } from '../core/clock.ts'
import { bundleName, type CatalogueEntry, type Sidecar } from './catalogue.ts'
import { lockedUntil } from './lock-dates.ts'
import { planRetention, type RetentionRules } from './retention.ts'

const rules: RetentionRules = {
  daily: 7,
  weekly: 0,
  monthly: 0,
  days: 0,
  least: 3,
  timeZone: 'UTC',
  installationId: 'ours',
}
const now = new Date('2026-11-24T12:00:00Z')

interface Given {
  at: string
  state?: CatalogueEntry['state']
  suspect?: string
  installation?: string
}

function bundle({ at, state, suspect = '', installation = 'ours' }: Given): CatalogueEntry {
  const manifest = { installation_id: installation, suspect, point_in_time: { taken_at: at } }
  const stamp = at.replace(/[-:]/g, '').replace('T', '-').slice(0, 15)
  return {
    name: bundleName(stamp, true),
    bytes: 1,
    sidecar: { manifest } as unknown as Sidecar,
    state: state ?? { verified_at: at, verified_level: 'full' },
    isDamaged: false,
  }
}

/** Newest first, as the catalogue lists them. */
function nightly(count: number, hour = '03:15:02'): CatalogueEntry[] {
  return Array.from({ length: count }, (_, n) =>
    bundle({ at: `${new Date(now.getTime() - n * dayMs).toISOString().slice(0, 10)}T${hour}.000Z` }),
  )
}

function kept(entries: CatalogueEntry[], changed: Partial<RetentionRules> = {}, at = now): string[] {
  return planRetention(entries, { ...rules, ...changed }, at)
    .verdicts.filter(({ isKept }) => isKept)
    .map(({ entry }) => entry.name.slice(21, 29))
}

test('days, weeks and months are counted by the calendar, each by its newest bundle', () => {
  const entries = nightly(120)
  assert.equal(kept(entries).length, 7)
  assert.deepEqual(kept(entries, { daily: 2, weekly: 3, least: 1 }), ['20261124', '20261123', '20261122', '20261115'])
  assert.deepEqual(kept(entries, { daily: 1, monthly: 3, least: 1 }), ['20261124', '20261031', '20260930'])
})

test('a day is one of the time zone, also on the days that clocks change', () => {
  // In Berlin 2026-10-25 has 25 hours: 00:30 and 23:30 of it are 22:30 UTC the day before and 22:30 UTC.
  const entries = ['2026-10-25T22:30:00.000Z', '2026-10-24T22:30:00.000Z', '2026-10-24T21:30:00.000Z'].map((at) => bundle({ at }))
  assert.equal(kept(entries, { daily: 2, least: 1, timeZone: 'Europe/Berlin' }).length, 2)
  assert.equal(kept(entries, { daily: 3, least: 1, timeZone: 'Europe/Berlin' }).length, 2, 'the first two are of one day')
  assert.equal(kept(entries, { daily: 3, least: 1, timeZone: 'UTC' }).length, 2, 'the last two are of one day')
  const spring = ['2026-03-29T21:59:00.000Z', '2026-03-28T23:01:00.000Z', '2026-03-28T22:59:00.000Z'].map((at) => bundle({ at }))
  assert.equal(kept(spring, { daily: 3, least: 1, timeZone: 'Europe/Berlin' }).length, 2)
})

test('a week belongs to the year of its Thursday', () => {
  const at = new Date('2027-01-05T00:00:00Z')
  const entries = [
    '2027-01-04T03:00:00.000Z',
    '2027-01-03T03:00:00.000Z',
    '2026-12-28T03:00:00.000Z',
    '2026-12-27T03:00:00.000Z',
  ].map((taken) => bundle({ at: taken }))
  assert.deepEqual(kept(entries, { daily: 0, weekly: 3, least: 1 }, at), ['20270104', '20270103', '20261227'])
})

test('only verified bundles count; the last ones that verified stay whatever is said', () => {
  const [first, second, ...rest] = nightly(30)
  const unverified = { ...(first as CatalogueEntry), state: {} }
  const failed = { ...(second as CatalogueEntry), state: { verified_at: 'x', verified_level: 'full' as const, failed_at: 'x' } }
  const names = kept([unverified, failed, ...rest], { daily: 1 })
  assert.deepEqual(names, ['20261124', '20261123', '20261122', '20261121', '20261120'])
  assert.deepEqual(kept(nightly(30), { daily: 0, least: 4 }).length, 4)
})

test('a pin holds until it ends; another installation and what has no manifest are left alone', () => {
  const old = bundle({ at: '2025-01-01T03:00:00.000Z' })
  const pin = (until: string | null) => ({ ...old, state: { ...old.state, pin: { reason: 'audit', until, by: 'host' } } })
  assert.ok(kept([...nightly(10), pin(null)]).includes('20250101'))
  assert.ok(kept([...nightly(10), pin('2026-12-01T00:00:00.000Z')]).includes('20250101'))
  assert.ok(!kept([...nightly(10), pin('2026-11-01T00:00:00.000Z')]).includes('20250101'))
  assert.ok(kept([...nightly(10), bundle({ at: '2025-01-01T03:00:00.000Z', installation: 'theirs' })]).includes('20250101'))
  assert.ok(kept([...nightly(10), { ...old, sidecar: undefined }]).includes('20250101'))
})

test('every bundle younger than so many days stays, as CAP_BACKUP_RETAIN_DAYS says', () => {
  assert.equal(kept(nightly(60), { days: 30 }).length, 31 - 1)
})

test('a suspect newest bundle, one from the future, and nothing verified stop everything', () => {
  const stopped = (entries: CatalogueEntry[], at = now) => planRetention(entries, rules, at).stopped
  assert.equal(stopped(nightly(20)), '')
  assert.equal(stopped([]), '')
  assert.match(stopped([bundle({ at: '2026-11-24T04:00:00.000Z', suspect: 'half are gone' }), ...nightly(20)]), /suspect/)
  assert.match(stopped([bundle({ at: '2027-11-24T04:00:00.000Z' }), ...nightly(20)]), /from the future/)
  assert.match(stopped(nightly(20).map((entry) => ({ ...entry, state: {} }))), /none of the bundles is verified/)
})

test('whatever bundles there are and wherever the clock jumps, the newest that verified stay', () => {
  const entries = fc.array(fc.record({ day: fc.integer({ min: 0, max: 900 }), isGood: fc.boolean() }), {
    minLength: 1,
    maxLength: 60,
  })
  fc.assert(
    fc.property(entries, fc.integer({ min: -4000, max: 4000 }), fc.integer({ min: 1, max: 5 }), (given, jumpDays, least) => {
      const made = given
        .map(({ day, isGood }, n) =>
          bundle({ at: new Date(now.getTime() - day * dayMs - n * 1000).toISOString(), ...(isGood ? {} : { state: {} }) }),
        )
        .sort((a, b) => (a.name < b.name ? 1 : -1))
      const plan = planRetention(made, { ...rules, daily: 0, least }, new Date(now.getTime() + jumpDays * dayMs))
      const good = plan.verdicts.filter(({ entry }) => entry.state.verified_level === 'full')
      for (const { isKept } of good.slice(0, least)) assert.ok(isKept)
    }),
  )
})

test('a lock lasts as the days, and longer once a week or month is over and the bundle stayed its newest', () => {
  const entries = nightly(60)
  const keep = { daily: 10, weekly: 3, monthly: 2 }
  const target = { ...keep, lockMode: 'governance', lockDays: 0 } as const
  const daysOf = (changed: Partial<Parameters<typeof lockedUntil>[2]> = {}) => {
    const { verdicts } = planRetention(entries, { ...rules, ...keep }, now)
    const days = verdicts.map(({ entry, tiers }) => {
      const until = lockedUntil(entry, tiers, { ...target, ...changed }, now)?.getTime() ?? Number.NaN
      return [
        entry.name.slice(21, 29),
        Math.round((until - Date.parse(entry.sidecar?.manifest.point_in_time.taken_at ?? '')) / dayMs),
      ]
    })
    return Object.fromEntries(days) as Record<string, number>
  }
  const days = daysOf()
  assert.equal(days['20261124'], 10, 'the newest of a day, a week and a month of which only the day will surely be over')
  assert.equal(days['20261122'], 21, 'Sunday: the newest of the week that is over')
  assert.equal(days['20261121'], 10)
  assert.equal(days['20261031'], 62, 'the newest of October')
  assert.equal(daysOf({ lockDays: 40 })['20261124'], 40)
  assert.equal(daysOf({ daily: 0 })['20261124'], 1, 'what is written is locked for a day at least')
  assert.ok(Number.isNaN(daysOf({ lockMode: 'none' })['20261124']))
  const old = entries.at(-1) as CatalogueEntry
  assert.equal(lockedUntil(old, [], target, now), undefined, 'a date that has passed is no lock: no store would take it')
})
