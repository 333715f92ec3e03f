import { dayMs, minuteMs } from '../core/clock.ts'
import type { TargetRules } from '../target/target.ts'
import type { CatalogueEntry } from './catalogue.ts'
import { type Tier, takenAt } from './retention.ts'

/** A date that passes while the request is under way would be refused. */
const slackMs = 10 * minuteMs

/**
 * Until when a bundle is locked at a target. Nobody knows yet whether the bundle of today will be the one of its week: it is locked for the
 * days at first, and for the weeks or months when those are over and it stayed the newest of one.
 * @returns undefined where nothing is locked, or the date has passed: no store takes one
 */
export function lockedUntil(entry: CatalogueEntry, tiers: readonly Tier[], rules: TargetRules, now: Date): Date | undefined {
  const daysOf = { day: 0, week: rules.weekly * 7, month: rules.monthly * 31 }
  const promoted = tiers.filter(({ isOver }) => isOver).map(({ period }) => daysOf[period])
  return locked(takenAt(entry), promoted, rules, now)
}

/** The same for a bundle of which nothing is known but when it was taken. */
export function firstLock(taken: Date, rules: TargetRules, now: Date): Date | undefined {
  return locked(taken, [], rules, now)
}

function locked(taken: Date, promotedDays: readonly number[], rules: TargetRules, now: Date): Date | undefined {
  if (rules.lockMode === 'none') return undefined
  const days = Math.max(1, rules.lockDays || rules.daily, ...promotedDays)
  const until = taken.getTime() + days * dayMs
  return until > now.getTime() + slackMs ? new Date(until) : undefined
}
