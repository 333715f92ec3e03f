import { Button, Group, Select, Stack, Text } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api, get } from '../api.ts'
import type { Deployment, DeployTarget, Page } from '../types.ts'
import { JobSteps, useJob } from './job-steps.tsx'
import { Card } from './page.tsx'
import { Failure, State } from './states.tsx'
import { When } from './time.tsx'

/** Where a certificate is in use, and where else it could be. */
export function Deployments({ certificateId, fingerprint }: { certificateId: string; fingerprint: string }) {
  const queries = useQueryClient()
  const path = `/certificates/${certificateId}/deployments`
  const targets = useQuery({ queryKey: ['deploy-targets'], queryFn: () => get<Page<DeployTarget>>('/deploy-targets?limit=500') })
  const deployments = useQuery({ queryKey: ['deployments', certificateId], queryFn: () => get<{ items: Deployment[] }>(path) })
  const [chosen, choose] = useState<string | null>(null)
  const attach = useMutation({ mutationFn: () => api<{ job_id: string }>('POST', path, { target: chosen }) })
  const detach = useMutation({
    mutationFn: (id: string) => api('DELETE', `/deployments/${id}`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ['deployments', certificateId] }),
  })
  const job = useJob(attach.data?.job_id)
  const problem = targets.error ?? deployments.error ?? attach.error ?? detach.error
  const used = deployments.data?.items ?? []
  const free = (targets.data?.items ?? []).filter(({ _id }) => !used.some(({ target_id }) => target_id === _id))
  return (
    <Stack>
      {problem && <Failure error={problem} />}
      {used.map((deployment) => (
        <Group key={deployment._id} justify="space-between">
          <Group gap="sm">
            <State kind={deployment.error !== '' ? 'failing' : deployment.fingerprint === fingerprint ? 'ok' : 'soon'}>
              {deployment.error !== '' ? 'failed' : deployment.fingerprint === fingerprint ? 'in use' : 'not yet'}
            </State>
            <Text>{targets.data?.items.find(({ _id }) => _id === deployment.target_id)?.name ?? deployment.target_id}</Text>
            {deployment.deployed_at !== null && <When at={deployment.deployed_at} />}
            {deployment.error !== '' && <Text size="sm">{deployment.error}</Text>}
          </Group>
          <Button size="xs" variant="default" onClick={() => detach.mutate(deployment._id)}>
            Detach
          </Button>
        </Group>
      ))}
      {job && (
        <Card>
          <JobSteps job={job} />
        </Card>
      )}
      <Group align="flex-end">
        <Select
          label="Put it in use at"
          placeholder={free.length === 0 ? 'add a place under Deploy' : 'choose a place'}
          data={free.map(({ _id, name }) => ({ value: _id, label: name }))}
          value={chosen}
          onChange={choose}
        />
        <Button disabled={chosen === null} loading={attach.isPending} onClick={() => attach.mutate()}>
          Deploy
        </Button>
      </Group>
    </Stack>
  )
}
