import { Group, Stack, Text } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import type { Job } from '../types.ts'
import { clock, seconds, utc } from '../words.ts'
import { State, type StateKind } from './states.tsx'

const kinds: Record<Job['state'], StateKind> = { queued: 'unknown', running: 'soon', succeeded: 'ok', dead: 'failing' }
const words: Record<Job['state'], string> = { queued: 'waiting', running: 'running', succeeded: 'done', dead: 'failed' }

export function JobState({ job }: { job: Job }) {
  return <State kind={job.state === 'queued' && job.error !== '' ? 'failing' : kinds[job.state]}>{words[job.state]}</State>
}

/** A job as it goes: told by the service, until it ends. */
export function useJob(id: string | undefined): Job | undefined {
  const [job, setJob] = useState<Job>()
  const queries = useQueryClient()
  useEffect(() => {
    if (id === undefined) return
    const source = new EventSource(`/api/v1/jobs/${id}/events`)
    source.onmessage = (event) => {
      const next = JSON.parse(event.data) as Job
      setJob(next)
      if (next.state !== 'succeeded' && next.state !== 'dead') return
      source.close()
      void queries.invalidateQueries()
    }
    return () => source.close()
  }, [id, queries])
  return job
}

/** Steps with the time each took; the failing one says what to do. */
export function JobSteps({ job }: { job: Job }) {
  const isOver = job.state === 'succeeded' || job.state === 'dead'
  return (
    <Stack gap="xs">
      <Group gap="xs">
        <JobState job={job} />
        {job.state === 'queued' && job.attempts > 0 && <Text size="sm">next attempt {clock(job.run_at)}</Text>}
      </Group>
      <ol aria-live="polite" style={{ listStyle: 'none', margin: 0, padding: 0 }}>
        {job.steps.map((step, index) => {
          const next = job.steps[index + 1]
          const isFailed = step.text.startsWith('failed:')
          const end = next?.at ?? (isOver ? undefined : new Date().toISOString())
          return (
            <Group key={`${step.at} ${step.text}`} component="li" align="flex-start" wrap="nowrap" gap="sm" py={4}>
              <Text
                size="xs"
                c="var(--state-unknown)"
                className="figures"
                w={64}
                ta="right"
                style={{ flexShrink: 0 }}
                title={utc(step.at)}
              >
                {end === undefined ? '' : seconds(Math.max(0, Date.parse(end) - Date.parse(step.at)))}
              </Text>
              <Text
                size="sm"
                fw={isFailed ? 600 : 400}
                c={isFailed ? 'var(--state-failing)' : 'inherit'}
                style={{ overflowWrap: 'anywhere' }}
              >
                {step.text}
              </Text>
            </Group>
          )
        })}
      </ol>
    </Stack>
  )
}
