import { Group, SegmentedControl, Title, Tooltip } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { get } from '../api.ts'
import type { Backup, BackupTarget } from '../types.ts'
import { type BackupStanding, backupState } from './bundle.tsx'
import { Failure, type StateKind } from './states.tsx'

const calendarDays = 84

const here = 'this host'

/** The calendar of this host, or of a target, which is asked when it is looked at. */
export function BackupCalendars({ backups }: { backups: Backup[] }) {
  const [place, setPlace] = useState(here)
  const targets = useQuery({ queryKey: ['targets'], queryFn: () => get<{ items: BackupTarget[] }>('/targets') })
  const there = useQuery({
    queryKey: ['targets', place, 'backups'],
    queryFn: () => get<{ items: BackupStanding[] }>(`/targets/${place}/backups`),
    enabled: place !== here,
  })
  const places = [here, ...(targets.data?.items ?? []).map(({ name }) => name)]
  return (
    <>
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h5">
          The last twelve weeks
        </Title>
        {places.length > 1 && <SegmentedControl size="xs" data={places} value={place} onChange={setPlace} aria-label="where" />}
      </Group>
      {there.isError && place !== here && <Failure error={there.error} retry={there.refetch} />}
      <BackupCalendar backups={place === here ? backups : (there.data?.items ?? [])} />
    </>
  )
}

/** One cell a day: verified, unverified, damaged, or missing. */
function BackupCalendar({ backups }: { backups: BackupStanding[] }) {
  const byDay = new Map<string, BackupStanding[]>()
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
