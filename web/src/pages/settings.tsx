import { Button, Code, Group, PasswordInput, Select, Stack, Table, Text, TextInput, Title } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { api, get } from '../api.ts'
import { Notice } from '../parts/notice.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Empty, Failure, State, Waiting } from '../parts/states.tsx'
import { When } from '../parts/time.tsx'
import type { ApiKey, Page, Project, Status, User } from '../types.ts'

export function SettingsPage() {
  const status = useQuery({ queryKey: ['status'], queryFn: () => get<Status>('/status') })
  return (
    <>
      <PageHead title="Settings" />
      <Stack gap="lg">
        <Users />
        <ApiKeys />
        <Cluster />
        {status.isError && <Failure error={status.error} retry={status.refetch} />}
        {status.data && <About status={status.data} />}
      </Stack>
    </>
  )
}

function Users() {
  const users = useQuery({ queryKey: ['users'], queryFn: () => get<Page<User>>('/users?limit=500') })
  const queries = useQueryClient()
  const [form, setForm] = useState({ email: '', role: 'operator', password: '' })
  const refresh = () => queries.invalidateQueries({ queryKey: ['users'] })
  const add = useMutation({
    mutationFn: () => api('POST', '/users', form),
    onSuccess: async () => {
      setForm({ email: '', role: 'operator', password: '' })
      await refresh()
    },
  })
  const remove = useMutation({ mutationFn: (id: string) => api('DELETE', `/users/${id}`), onSuccess: refresh })
  const problem = users.error ?? add.error ?? remove.error
  return (
    <Section title="Users">
      {problem && <Failure error={problem} />}
      {users.isPending && <Waiting rows={2} />}
      {users.data?.items.map((user) => (
        <Group key={user._id} justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
          <Text>
            {user.email} <span style={{ color: 'var(--state-unknown)' }}>{user.role}</span>
          </Text>
          {user.role !== 'owner' && (
            <Button size="xs" variant="default" onClick={() => remove.mutate(user._id)}>
              Remove
            </Button>
          )}
        </Group>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          add.mutate()
        }}
      >
        <Group p="md" align="flex-end" gap="sm">
          <TextInput
            label="E-mail"
            type="email"
            required
            value={form.email}
            onChange={(event) => setForm({ ...form, email: event.currentTarget.value })}
          />
          <Select
            label="Role"
            w={130}
            data={['admin', 'operator', 'viewer']}
            value={form.role}
            allowDeselect={false}
            onChange={(role) => setForm({ ...form, role: role ?? 'operator' })}
          />
          <PasswordInput
            label="Password"
            w={200}
            required
            autoComplete="new-password"
            value={form.password}
            onChange={(event) => setForm({ ...form, password: event.currentTarget.value })}
          />
          <Button type="submit" variant="default" loading={add.isPending}>
            Add
          </Button>
        </Group>
      </form>
    </Section>
  )
}

function ApiKeys() {
  const keys = useQuery({ queryKey: ['api-keys'], queryFn: () => get<Page<ApiKey>>('/api-keys?limit=500') })
  const queries = useQueryClient()
  const projects = useQuery({ queryKey: ['projects'], queryFn: () => get<Page<Project>>('/projects?limit=500') })
  const [form, setForm] = useState({ name: '', role: 'viewer', project: '' })
  const body = { name: form.name, role: form.role, ...(form.project === '' ? {} : { project: form.project }) }
  const nameOf = (id: string) => projects.data?.items.find(({ _id }) => _id === id)?.name ?? id
  const refresh = () => queries.invalidateQueries({ queryKey: ['api-keys'] })
  const add = useMutation({ mutationFn: () => api<ApiKey & { key: string }>('POST', '/api-keys', body), onSuccess: refresh })
  const revoke = useMutation({ mutationFn: (id: string) => api('DELETE', `/api-keys/${id}`), onSuccess: refresh })
  const problem = keys.error ?? add.error ?? revoke.error
  return (
    <Section title="API keys">
      {problem && <Failure error={problem} />}
      {add.data && (
        <Notice kind="soon" title="Copy this key now: it is not shown again">
          <Code>{add.data.key}</Code>
        </Notice>
      )}
      {keys.data?.items.length === 0 && (
        <Empty
          title="No API key"
          text="For programs: a role, and a key that is shown once."
          command="certautopilot api-key create NAME --role viewer"
        />
      )}
      {keys.data?.items.map((key) => (
        <Group key={key._id} justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
          <Text>
            {key.name} <Code>{key.prefix}…</Code>{' '}
            <span style={{ color: 'var(--state-unknown)' }}>
              {key.role}
              {key.project_id && ` of project ${nameOf(key.project_id)}`}
            </span>
          </Text>
          {key.revoked_at === null ? (
            <Button size="xs" variant="default" onClick={() => revoke.mutate(key._id)}>
              Revoke
            </Button>
          ) : (
            <State kind="unknown">revoked</State>
          )}
        </Group>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          add.mutate()
        }}
      >
        <Group p="md" align="flex-end" gap="sm">
          <TextInput
            label="Name"
            required
            value={form.name}
            onChange={(event) => setForm({ ...form, name: event.currentTarget.value })}
          />
          <Select
            label="Role"
            w={130}
            data={['admin', 'operator', 'viewer']}
            value={form.role}
            allowDeselect={false}
            onChange={(role) => setForm({ ...form, role: role ?? 'viewer' })}
          />
          <Select
            label="Sees"
            w={170}
            data={[
              { value: '', label: 'every project' },
              ...(projects.data?.items ?? []).map(({ _id, name }) => ({ value: _id, label: `only ${name}` })),
            ]}
            value={form.project}
            allowDeselect={false}
            onChange={(project) => setForm({ ...form, project: project ?? '' })}
          />
          <Button type="submit" variant="default" loading={add.isPending}>
            Make a key
          </Button>
        </Group>
      </form>
    </Section>
  )
}

interface Process {
  _id: string
  mode: string
  host: string
  pid: number
  version: string
  kek_version: number
  is_leader: boolean
  started_at: string
}

function Cluster() {
  const cluster = useQuery({
    queryKey: ['cluster'],
    queryFn: () => get<{ processes: Process[] }>('/cluster'),
    refetchInterval: 5_000,
  })
  return (
    <Section title="Processes">
      {cluster.isError && <Failure error={cluster.error} retry={cluster.refetch} />}
      {cluster.data?.processes.map((process) => (
        <Group key={process._id} justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
          <Text>
            {process.host}, {process.pid}{' '}
            <span style={{ color: 'var(--state-unknown)' }}>
              {process.mode === 'all' ? 'API, worker, scheduler' : process.mode}
            </span>
          </Text>
          <Group gap="sm">
            {process.is_leader && <State kind="ok">leads</State>}
            <Text size="sm" c="var(--state-unknown)">
              writes with KEK v{process.kek_version} · {process.version} · started <When at={process.started_at} />
            </Text>
          </Group>
        </Group>
      ))}
    </Section>
  )
}

function About({ status }: { status: Status }) {
  return (
    <Section title="This installation">
      <Table variant="vertical" layout="fixed" withRowBorders={false}>
        <Table.Tbody>
          <Row name="Version">{status.version}</Row>
          <Row name="Database">
            {status.engine}, {status.database}
          </Row>
          <Row name="Epoch">{status.epoch?.epoch ?? 0}</Row>
          {status.kek.versions.map((version) => (
            <Row key={version.version} name={`KEK v${version.version}`}>
              <Code>{version.fingerprint}</Code> {version.state}, {status.kek.provider}, since <When at={version.created_at} />
            </Row>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  )
}

function Row({ name, children }: { name: string; children: ReactNode }) {
  return (
    <Table.Tr>
      <Table.Th w={120} bg="transparent" fw={400} c="var(--state-unknown)">
        {name}
      </Table.Th>
      <Table.Td style={{ overflowWrap: 'anywhere' }}>{children}</Table.Td>
    </Table.Tr>
  )
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <Title order={2} size="h5" mb="xs">
        {title}
      </Title>
      <Card p={0}>{children}</Card>
    </section>
  )
}
