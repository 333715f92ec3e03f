import {
  Anchor,
  Button,
  Code,
  Group,
  Menu,
  Modal,
  Select,
  SimpleGrid,
  Stack,
  Table,
  Tabs,
  TagsInput,
  Text,
  TextInput,
} from '@mantine/core'
import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useLocation } from 'wouter'
import { api, get } from '../api.ts'
import { useChange } from '../change.ts'
import { certificateState } from '../parts/certificate-state.tsx'
import { ChainPicture } from '../parts/chain-picture.tsx'
import { Deployments } from '../parts/deployments.tsx'
import { JobState, JobSteps, useJob } from '../parts/job-steps.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Failure, State, Waiting } from '../parts/states.tsx'
import { When } from '../parts/time.tsx'
import type { Certificate, Job, Page } from '../types.ts'

export function CertificatePage({ id }: { id: string }) {
  const certificate = useQuery({ queryKey: ['certificates', id], queryFn: () => get<Certificate>(`/certificates/${id}`) })
  const jobs = useQuery({ queryKey: ['jobs', { subject: id }], queryFn: () => get<Page<Job>>(`/jobs?subject=${id}`) })
  const [followed, follow] = useState<string>()
  const running = jobs.data?.items.find(({ state }) => state === 'queued' || state === 'running')?._id
  const live = useJob(followed ?? running)
  const renew = useMutation({
    mutationFn: () => api<Job>('POST', `/certificates/${id}/renew`),
    onSuccess: (job) => follow(job._id),
  })
  const [isRevoking, setRevoking] = useState(false)
  const [isRemoving, setRemoving] = useState(false)
  const shown = certificate.data
  if (certificate.isError) return <Failure error={certificate.error} retry={certificate.refetch} />
  if (shown === undefined) return <Waiting rows={8} />
  const { kind, word } = certificateState(shown)
  const isOurs = shown.kind === 'managed'
  const canRenew = isOurs && shown.has_key && (shown.state === 'active' || shown.state === 'expiring' || shown.state === 'expired')
  return (
    <>
      <PageHead
        title={shown.name}
        action={
          <Group gap="xs">
            {canRenew && (
              <Button onClick={() => renew.mutate()} loading={renew.isPending}>
                Renew now
              </Button>
            )}
            <Download certificate={shown} />
            {isOurs && shown.state !== 'revoked' && shown.state !== 'requested' && (
              <Button variant="default" onClick={() => setRevoking(true)}>
                Revoke…
              </Button>
            )}
            {(!isOurs || !shown.has_key || shown.state === 'revoked' || shown.state === 'expired') && (
              <Button variant="default" onClick={() => setRemoving(true)}>
                Forget…
              </Button>
            )}
          </Group>
        }
      />
      <Stack>
        {renew.isError && <Failure error={renew.error} />}
        {shown.renewal_error !== '' && live === undefined && <Failure error={new Error(shown.renewal_error)} />}
        {live && (
          <Card>
            <Text fw={600} mb="xs">
              {live.kind === 'certificate.issue' ? 'Issuing' : 'Renewal'}
            </Text>
            <JobSteps job={live} />
          </Card>
        )}
        <Card>
          <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg" verticalSpacing={4}>
            <Facts
              facts={[
                [
                  'State',
                  <State key="state" kind={kind}>
                    {word}
                  </State>,
                ],
                ['Names', shown.sans.join(', ') || shown.name],
                ['Expires', shown.state === 'requested' ? 'not issued yet' : <When key="expires" at={shown.not_after} absolute />],
                ['Renewal', shown.auto_renew ? renewalText(shown) : 'not automatic'],
                ['Kind', shown.kind],
                ['Tags', <Tags key="tags" certificate={shown} />],
              ]}
            />
            <Facts
              facts={[
                ['Issuer', shown.issuer],
                ['Key', <KeyFact key="key" certificate={shown} />],
                ['Serial', <Code key="serial">{shown.serial || '—'}</Code>],
                [
                  'SHA-256',
                  <Code key="sha" style={{ overflowWrap: 'anywhere' }}>
                    {shown.fingerprint}
                  </Code>,
                ],
                ['Proof', shown.challenge || 'none needed'],
              ]}
            />
          </SimpleGrid>
        </Card>
        <Tabs defaultValue="chain" keepMounted={false}>
          <Tabs.List>
            <Tabs.Tab value="chain">Chain</Tabs.Tab>
            {shown.has_key && <Tabs.Tab value="deployed">Deployed</Tabs.Tab>}
            <Tabs.Tab value="history">History</Tabs.Tab>
            <Tabs.Tab value="raw">Raw</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="chain" pt="md">
            <ChainPicture certificate={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="deployed" pt="md">
            <Deployments certificateId={shown._id} fingerprint={shown.fingerprint} />
          </Tabs.Panel>
          <Tabs.Panel value="history" pt="md">
            <History jobs={jobs.data?.items ?? []} certificate={shown} />
          </Tabs.Panel>
          <Tabs.Panel value="raw" pt="md">
            <Code block style={{ overflow: 'auto' }}>
              {`${shown.certificate_pem ?? ''}${shown.chain_pem ?? ''}` || 'not issued yet'}
            </Code>
          </Tabs.Panel>
        </Tabs>
      </Stack>
      <Forget certificate={shown} isOpen={isRemoving} close={() => setRemoving(false)} />
      <Revoke certificate={shown} isOpen={isRevoking} close={() => setRevoking(false)} />
    </>
  )
}

function renewalText(certificate: Certificate) {
  if (certificate.state === 'requested') return 'after it is issued'
  return <When at={certificate.next_renewal_at} absolute />
}

function Facts({ facts }: { facts: [name: string, value: React.ReactNode][] }) {
  return (
    <Table variant="vertical" withRowBorders={false} verticalSpacing={4} layout="fixed">
      <Table.Tbody>
        {facts.map(([name, value]) => (
          <Table.Tr key={name}>
            <Table.Th w={96} bg="transparent" fw={400} c="var(--state-unknown)">
              {name}
            </Table.Th>
            <Table.Td style={{ overflowWrap: 'anywhere' }}>{value}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  )
}

function History({ jobs, certificate }: { jobs: Job[]; certificate: Certificate }) {
  return (
    <Stack gap="xs">
      {jobs.map((job) => (
        <Group key={job._id} gap="sm">
          <JobState job={job} />
          <Anchor component={Link} href={`/jobs/${job._id}`}>
            {job.kind}
          </Anchor>
          <When at={job.created_at} />
        </Group>
      ))}
      {jobs.length > 0 && (
        <Anchor component={Link} href={`/jobs?subject=${certificate._id}`} size="sm">
          All its jobs
        </Anchor>
      )}
      <Group gap="sm">
        <State kind="unknown">added</State>
        <When at={certificate.created_at} />
      </Group>
    </Stack>
  )
}

function KeyFact({ certificate: { key_type, has_key, key_kek_version, key_sealed_at } }: { certificate: Certificate }) {
  if (!has_key || !key_sealed_at) return `${key_type}, not here`
  return (
    <>
      {key_type}, sealed here with KEK v{key_kek_version} <When at={key_sealed_at} />
    </>
  )
}

function Tags({ certificate }: { certificate: Certificate }) {
  const tag = useChange((tags: string[]) => {
    const add = tags.filter((word) => !certificate.tags.includes(word))
    const remove = certificate.tags.filter((word) => !tags.includes(word))
    return api('POST', `/certificates/${certificate._id}/tag`, { add, remove })
  })
  return (
    <TagsInput
      size="xs"
      aria-label="tags"
      placeholder={certificate.tags.length === 0 ? 'a word, then Enter' : ''}
      value={tag.isPending ? tag.variables : certificate.tags}
      onChange={(tags) => tag.mutate(tags)}
      error={tag.error?.message}
    />
  )
}

function Download({ certificate }: { certificate: Certificate }) {
  const path = `/api/v1/certificates/${certificate._id}/download?format=`
  if (certificate.state === 'requested') return null
  return (
    <Menu>
      <Menu.Target>
        <Button variant="default">Download</Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item component="a" href={`${path}pem`}>
          Certificate (PEM)
        </Menu.Item>
        <Menu.Item component="a" href={`${path}fullchain`}>
          Certificate and chain (PEM)
        </Menu.Item>
        {certificate.has_key && (
          <Menu.Item component="a" href={`${path}key`}>
            Private key (PEM), audited
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  )
}

const reasons = ['unspecified', 'keyCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation']

function Revoke({ certificate, isOpen, close }: { certificate: Certificate; isOpen: boolean; close: () => void }) {
  const [name, setName] = useState('')
  const [reason, setReason] = useState('unspecified')
  const query = useQuery({ queryKey: ['certificates', certificate._id], enabled: false })
  const revoke = useMutation({
    mutationFn: () => api('POST', `/certificates/${certificate._id}/revoke`, { reason }),
    onSuccess: async () => {
      await query.refetch()
      close()
    },
  })
  return (
    <Modal
      opened={isOpen}
      onClose={close}
      title={`Revoke ${certificate.name}`}
      closeButtonProps={{ 'aria-label': 'close' }}
      attributes={{ header: { role: 'presentation' } }}
    >
      <Stack>
        <Text size="sm">
          Clients that check will refuse it from now on. This cannot be undone; the certificate and its key stay here.
        </Text>
        <Select label="Reason" data={reasons} value={reason} onChange={(value) => setReason(value ?? 'unspecified')} />
        <TextInput
          label={`Type ${certificate.name} to confirm`}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {revoke.isError && <Failure error={revoke.error} />}
        <Button color="red" disabled={name !== certificate.name} loading={revoke.isPending} onClick={() => revoke.mutate()}>
          Revoke
        </Button>
      </Stack>
    </Modal>
  )
}

function Forget({ certificate, isOpen, close }: { certificate: Certificate; isOpen: boolean; close: () => void }) {
  const [name, setName] = useState('')
  const [, go] = useLocation()
  const forget = useChange(
    () => api('DELETE', `/certificates/${certificate._id}`),
    () => go('/certificates'),
  )
  return (
    <Modal
      opened={isOpen}
      onClose={close}
      title={`Forget ${certificate.name}`}
      closeButtonProps={{ 'aria-label': 'close' }}
      attributes={{ header: { role: 'presentation' } }}
    >
      <Stack>
        <Text size="sm">The certificate and its keys leave the inventory. Backups from before still hold them.</Text>
        <TextInput
          label={`Type ${certificate.name} to confirm`}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {forget.isError && <Failure error={forget.error} />}
        <Button color="red" disabled={name !== certificate.name} loading={forget.isPending} onClick={() => forget.mutate()}>
          Forget
        </Button>
      </Stack>
    </Modal>
  )
}
