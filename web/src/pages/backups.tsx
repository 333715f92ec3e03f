import { Button, Code, Group, SimpleGrid, Stack, Text, Title } from '@mantine/core'
import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { api, get } from '../api.ts'
import { BackupCalendars } from '../parts/backup-calendar.tsx'
import { type Bar, Bars } from '../parts/bars.tsx'
import { Bundle } from '../parts/bundle.tsx'
import { JobSteps, useJob } from '../parts/job-steps.tsx'
import { Notice } from '../parts/notice.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Prune } from '../parts/prune.tsx'
import { RecoverabilityBand } from '../parts/recoverability.tsx'
import { Empty, Failure, State, Waiting } from '../parts/states.tsx'
import { Targets } from '../parts/targets.tsx'
import { When } from '../parts/time.tsx'
import type { Backup, Drill, Job, Overview, Retention } from '../types.ts'
import { bytes, clock, seconds } from '../words.ts'

export function BackupsPage() {
  const overview = useQuery({ queryKey: ['overview'], queryFn: () => get<Overview>('/overview') })
  const backups = useQuery({ queryKey: ['backups'], queryFn: () => get<{ items: Backup[] }>('/backups') })
  const drills = useQuery({ queryKey: ['drills'], queryFn: () => get<{ items: Drill[] }>('/drills') })
  const retention = useQuery({ queryKey: ['retention'], queryFn: () => get<Retention>('/retention') })
  const [followed, follow] = useState<string>()
  const job = useJob(followed)
  const start = useMutation({ mutationFn: (path: string) => api<Job>('POST', path), onSuccess: ({ _id }) => follow(_id) })
  const isBusy = start.isPending || job?.state === 'queued' || job?.state === 'running'
  const failed = [overview, backups, drills].find((query) => query.isError)
  if (failed?.error) return <Failure error={failed.error} retry={failed.refetch} />
  if (!overview.data || !backups.data || !drills.data) return <Waiting rows={8} />
  const { items } = backups.data
  return (
    <>
      <PageHead
        title="Backups"
        action={
          <Button disabled={isBusy} onClick={() => start.mutate('/backups')}>
            Back up now
          </Button>
        }
      />
      <Stack>
        <RecoverabilityBand data={overview.data.recoverability} />
        {start.isError && <Failure error={start.error} />}
        {job && (
          <Card>
            <Text fw={600} mb="xs">
              {job.kind}
            </Text>
            <JobSteps job={job} />
          </Card>
        )}
        {!overview.data.recoverability.is_recovery_proven && items.length > 0 && (
          <Notice kind="soon" title="Nobody has proven the recovery kit in the last year">
            <Text size="sm" mb={4}>
              Bundles open with it and nothing else, once this host is gone. Try it today, then take it off this machine:
            </Text>
            <Code>certautopilot backup key test --identity certautopilot-recovery-kit.txt</Code>
          </Notice>
        )}
        <Card>
          <BackupCalendars backups={items} />
          <SimpleGrid cols={{ base: 1, sm: 2 }} mt="md">
            <Bars title="Size" bars={barsOf(items, ({ bytes: size }) => size, bytes)} />
            <Bars title="Duration" bars={barsOf(items, ({ duration_ms }) => duration_ms ?? 0, seconds)} />
          </SimpleGrid>
        </Card>
        <Group justify="space-between">
          <Title order={2} size="h5">
            Bundles on this host
          </Title>
          {retention.data && items.length > 0 && <Prune retention={retention.data} />}
        </Group>
        <div className="card">
          {items.length === 0 && (
            <Empty
              title="No backup yet"
              text="A backup holds database and keys as of one moment, and is published only when every secret in it has opened."
              action={
                <Button disabled={isBusy} onClick={() => start.mutate('/backups')}>
                  Take the first
                </Button>
              }
              command="certautopilot backup create"
            />
          )}
          {items.map((backup) => (
            <Bundle
              key={backup.name}
              backup={backup}
              isBusy={isBusy}
              verify={() => start.mutate(`/backups/${encodeURIComponent(backup.name)}/verify`)}
              retention={retention.data?.items.find(({ name }) => name === backup.name)}
            />
          ))}
        </div>
        <Targets />
        <Group justify="space-between">
          <Title order={2} size="h5">
            Drills
          </Title>
          <Button variant="default" disabled={isBusy || items.length === 0} onClick={() => start.mutate('/drills')}>
            Run a drill
          </Button>
        </Group>
        <div className="card">
          {drills.data.items.length === 0 && (
            <Empty
              title="No drill yet"
              text="A drill restores the newest bundle into isolation, logs in, opens a certificate and its key, renews one, and measures how long recovery takes."
              command="certautopilot drill run"
            />
          )}
          {drills.data.items.map((drill) => (
            <DrillRow key={drill.id} drill={drill} slowest={Math.max(...drills.data.items.map(({ recovery_ms }) => recovery_ms))} />
          ))}
        </div>
      </Stack>
    </>
  )
}

const barsShown = 30

/** The newest bundles that have a value, oldest first. */
function barsOf(backups: Backup[], value: (backup: Backup) => number, word: (value: number) => string): Bar[] {
  return backups
    .filter((backup) => !backup.is_damaged && backup.created_at !== null && value(backup) > 0)
    .slice(0, barsShown)
    .reverse()
    .map((backup) => ({
      key: backup.name,
      value: value(backup),
      label: `${clock(backup.created_at as string)}: ${word(value(backup))}`,
    }))
}

function DrillRow({ drill, slowest }: { drill: Drill; slowest: number }) {
  return (
    <Group p="sm" px="md" gap="md" wrap="nowrap" style={{ borderBottom: '1px solid var(--line)' }}>
      <State kind={drill.outcome === 'passed' ? 'ok' : 'failing'}>{drill.outcome}</State>
      <div style={{ flex: 1, minWidth: 0 }}>
        <Text size="sm" className="cut">
          {drill.failure || drill.bundle}
        </Text>
        <span className="life" aria-hidden="true" style={{ display: 'block', marginTop: 4, maxWidth: 320 }}>
          <span style={{ width: `${slowest === 0 ? 0 : (drill.recovery_ms / slowest) * 100}%` }} />
        </span>
      </div>
      <Text size="sm" className="figures">
        {seconds(drill.recovery_ms)}
      </Text>
      <When at={drill.started_at} />
    </Group>
  )
}
