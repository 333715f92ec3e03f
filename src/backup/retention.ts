import { dayMs } from '../core/clock.ts'
import { type CatalogueEntry, isOfAnother, suspicionOf } from './catalogue.ts'

/** How many bundles stay. Days, weeks and months are those of a calendar in `timeZone`. */
export interface RetentionRules {
  /** The newest bundle of each of this many days that have one. */
  daily: number
  /** The same for weeks, which begin on Monday (ISO 8601). */
  weekly: number
  monthly: number
  /** Everything younger than this many days stays as well; 0 for no such rule. */
  days: number
  /** This many of the newest verified bundles stay whatever the other rules say. */
  least: number
  /** IANA name; the host's zone if empty. */
  timeZone: string
  installationId: string | undefined
}

/** A day, week or month whose newest bundle this is. */
export interface Tier {
  period: 'day' | 'week' | 'month'
  key: string
  /** Until it is over, a newer bundle may take the place. */
  isOver: boolean
}

export interface Verdict {
  entry: CatalogueEntry
  isKept: boolean
  tiers: Tier[]
  /** Why it is kept, or why not. */
  reasons: string[]
}

export interface RetentionPlan {
  verdicts: Verdict[]
  /** Why nothing may be removed now; empty when it may. */
  stopped: string
}

/** What did not verify is looked at by somebody before it goes. */
const evidenceDays = 30
/** A clock that is wrong by more than this would decide about bundles by mistake. */
export const skewMs = 60 * 60 * 1000

/**
 * Decides which bundles stay. Only verified ones count: a bundle of which nobody knows whether it opens is neither kept as the one of its
 * day, nor a reason to remove another.
 */
export function planRetention(entries: readonly CatalogueEntry[], rules: RetentionRules, now: Date): RetentionPlan {
  const counted = entries.filter((entry) => isVerified(entry) && !isOfAnother(entry.sidecar, rules.installationId))
  const reasons = new Map<string, string[]>(entries.map(({ name }) => [name, []]))
  const tiers = new Map<string, Tier[]>(entries.map(({ name }) => [name, []]))
  const keep = (entry: CatalogueEntry, reason: string) => reasons.get(entry.name)?.push(reason)

  for (const entry of counted.slice(0, rules.least)) keep(entry, `one of the last ${rules.least} that verified`)
  for (const [period, count, keyOf] of calendars(rules)) {
    const seen = new Set<string>()
    for (const entry of counted) {
      const key = keyOf(takenAt(entry))
      if (seen.has(key) || seen.size >= count) continue
      seen.add(key)
      keep(entry, `${period} ${key}`)
      tiers.get(entry.name)?.push({ period, key, isOver: key !== keyOf(now) })
    }
  }
  for (const entry of entries) for (const reason of otherReasons(entry, counted, rules, now)) keep(entry, reason)
  const verdicts = entries.map((entry): Verdict => {
    const found = reasons.get(entry.name) ?? []
    const own = tiers.get(entry.name) ?? []
    const isKept = found.length > 0
    return { entry, isKept, tiers: own, reasons: isKept ? found : [whyNot(entry)] }
  })
  const own = entries.filter(({ sidecar }) => !isOfAnother(sidecar, rules.installationId))
  return { verdicts, stopped: whyStopped(own, counted, now) }
}

/** Whether it was opened in full and nothing is known against it. */
export function isVerified({ isDamaged, sidecar, state }: CatalogueEntry): boolean {
  return !isDamaged && sidecar !== undefined && state.failed_at === undefined && state.verified_level === 'full'
}

function otherReasons(entry: CatalogueEntry, counted: readonly CatalogueEntry[], rules: RetentionRules, now: Date): string[] {
  const { sidecar, state } = entry
  if (state.pin !== undefined && (state.pin.until === null || Date.parse(state.pin.until) > now.getTime()))
    return [`pinned${state.pin.until === null ? '' : ` until ${state.pin.until.slice(0, 10)}`}: ${state.pin.reason}`]
  if (sidecar === undefined && !entry.isDamaged) return ['without a manifest: nobody knows whose it is']
  if (isOfAnother(entry.sidecar, rules.installationId)) return ['of another installation']
  const ageMs = now.getTime() - takenAt(entry).getTime()
  if (ageMs < rules.days * dayMs) return [`younger than ${rules.days} days`]
  if (isVerified(entry)) return []
  if (ageMs < evidenceDays * dayMs) return [`not verified: kept for ${evidenceDays} days to be looked at`]
  return counted.some((other) => takenAt(other) > takenAt(entry)) ? [] : ['not verified, but there is no newer one that is']
}

function whyNot(entry: CatalogueEntry): string {
  return isVerified(entry) ? 'no rule keeps it' : 'not verified, and old'
}

/** What looks wrong is a reason to keep everything until a person has looked. */
function whyStopped(entries: readonly CatalogueEntry[], counted: readonly CatalogueEntry[], now: Date): string {
  const fromFuture = entries.find((entry) => entry.sidecar !== undefined && takenAt(entry).getTime() > now.getTime() + skewMs)
  if (fromFuture !== undefined) return `"${fromFuture.name}" is from the future: the clock of this host was or is wrong`
  const newest = entries.find(({ isDamaged }) => !isDamaged)
  const suspicion = newest === undefined ? '' : suspicionOf(newest)
  if (suspicion !== '')
    return `the newest bundle "${newest?.name}" is suspect (${suspicion}): "backup accept" it when it holds what it should`
  return counted.length === 0 && entries.length > 0 ? 'none of the bundles is verified' : ''
}

export function takenAt({ name, sidecar }: CatalogueEntry): Date {
  if (sidecar !== undefined) return new Date(sidecar.manifest.point_in_time.taken_at)
  const [, date = '', time = ''] = name.match(/(\d{8})-(\d{6})/) ?? []
  const text = `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}T${time.slice(0, 2)}:${time.slice(2, 4)}:${time.slice(4)}Z`
  return new Date(text)
}

function calendars({ daily, weekly, monthly, timeZone }: RetentionRules): [Tier['period'], number, (at: Date) => string][] {
  const format = new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', ...(timeZone === '' ? {} : { timeZone }) })
  const day = (at: Date) => format.format(at)
  return [
    ['day', daily, day],
    ['week', weekly, (at) => isoWeek(day(at))],
    ['month', monthly, (at) => day(at).slice(0, 7)],
  ]
}

/** `2026-W48` of `2026-11-24`. The week belongs to the year of its Thursday (ISO 8601). */
function isoWeek(day: string): string {
  const thursday = new Date(`${day}T00:00:00Z`)
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7))
  const year = thursday.getUTCFullYear()
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * dayMs)) + 1
  return `${year}-W${String(week).padStart(2, '0')}`
}
