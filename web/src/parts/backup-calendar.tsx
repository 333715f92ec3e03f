import { Tooltip } from '@mantine/core'
import type { Backup } from '../types.ts'
import { backupState } from './bundle.tsx'
import type { StateKind } from './states.tsx'

const calendarDays = 84

/** One cell a day: verified, unverified, damaged, or missing. */
export function BackupCalendar({ backups }: { backups: Backup[] }) {
  const byDay = new Map<string, Backup[]>()
  for (const backup of backups) {
    const day = backup.created_at === null ? '' : new Date(backup.created_at).toDateString()
    byDay.set(day, [...(byDay.get(day) ?? []), backup])
  }
  const days = Array.from({ length: calendarDays }, (_, n) => new Date(Date.now() - (calendarDays - 1 - n) * 86_400_000))
  return (
    <div className="days" role="list" aria-label="backups by day">
      {days.map((day) => {
        const ofDay = byDay.get(day.toDateString()) ?? []
        const kinds = ofDay.map((backup) => backupState(backup).kind)
        const kind: StateKind = (['ok', 'soon', 'failing'] as const).find((candidate) => kinds.includes(candidate)) ?? 'unknown'
        const word =
          ofDay.length === 0
            ? 'no backup'
            : `${ofDay.length} × ${kind === 'ok' ? 'verified' : kind === 'soon' ? 'unverified' : 'damaged'}`
        const label = `${day.toLocaleDateString(undefined, { dateStyle: 'medium' })}: ${word}`
        return (
          <Tooltip key={day.toDateString()} label={label}>
            <div role="listitem" data-state={kind} aria-label={label}>
              {ofDay.length === 0 ? '' : { ok: '●', soon: '▲', failing: '■', unknown: '' }[kind]}
            </div>
          </Tooltip>
        )
      })}
    </div>
  )
}
