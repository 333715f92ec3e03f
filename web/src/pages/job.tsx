import { Anchor, Button, Group, Stack, Text } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import { api } from '../api.ts'
import { JobSteps, useJob } from '../parts/job-steps.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Failure, Waiting } from '../parts/states.tsx'
import type { Job } from '../types.ts'

export function JobPage({ id }: { id: string }) {
  const [round, setRound] = useState(0)
  return <LiveJob key={round} id={id} again={() => setRound(round + 1)} />
}

function LiveJob({ id, again }: { id: string; again: () => void }) {
  const job = useJob(id)
  const retry = useMutation({ mutationFn: () => api<Job>('POST', `/jobs/${id}/retry`), onSuccess: again })
  if (job === undefined) return <Waiting rows={5} />
  const canRetry = job.state === 'dead' || (job.state === 'queued' && job.attempts > 0)
  return (
    <>
      <PageHead
        title={job.kind}
        action={
          canRetry && (
            <Button loading={retry.isPending} onClick={() => retry.mutate()}>
              Try again now
            </Button>
          )
        }
      />
      <Stack>
        {retry.isError && <Failure error={retry.error} />}
        <Card>
          <JobSteps job={job} />
        </Card>
        <Group gap="md">
          {job.kind.startsWith('certificate.') && (
            <Anchor component={Link} href={`/certificates/${job.subject}`}>
              Show the certificate
            </Anchor>
          )}
          <Text size="sm" c="var(--state-unknown)">
            {job._id}
          </Text>
        </Group>
      </Stack>
    </>
  )
}
