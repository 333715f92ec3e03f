import { Button, Group, PasswordInput, Select, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api, get } from '../api.ts'
import { Dialog, type DialogProps } from '../parts/dialog.tsx'
import { PageHead } from '../parts/page.tsx'
import { Empty, Failure, State, Waiting } from '../parts/states.tsx'
import { When } from '../parts/time.tsx'
import type { Channel, Page } from '../types.ts'

export function NotifyPage() {
  const channels = useQuery({ queryKey: ['channels'], queryFn: () => get<Page<Channel>>('/notification-channels?limit=500') })
  const [isOpen, setOpen] = useState(false)
  return (
    <>
      <PageHead title="Notify" action={<Button onClick={() => setOpen(true)}>Add a channel</Button>} />
      {channels.isError && <Failure error={channels.error} retry={channels.refetch} />}
      {channels.isPending && <Waiting rows={3} />}
      <div className="card">
        {channels.data?.items.length === 0 && (
          <Empty
            title="Nobody is told of anything"
            text="Mail or a webhook (Slack and its likes), for what expires, for what could not be renewed, for backups and drills."
            action={<Button onClick={() => setOpen(true)}>Add the first channel</Button>}
            command="certautopilot notify create ops --kind webhook --set url=https://…"
          />
        )}
        {channels.data?.items.map((channel) => (
          <Line key={channel._id} channel={channel} />
        ))}
      </div>
      <NewChannel isOpen={isOpen} close={() => setOpen(false)} />
    </>
  )
}

function Line({ channel }: { channel: Channel }) {
  const queries = useQueryClient()
  const onSettled = () => queries.invalidateQueries({ queryKey: ['channels'] })
  const test = useMutation({ mutationFn: () => api('POST', `/notification-channels/${channel._id}/test`), onSettled })
  const remove = useMutation({ mutationFn: () => api('DELETE', `/notification-channels/${channel._id}`), onSettled })
  const problem = test.error ?? remove.error
  return (
    <>
      <Group justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
        <div>
          <Group gap="xs">
            <Text fw={500}>{channel.name}</Text>
            {channel.last_error !== '' ? (
              <State kind="failing">last message failed</State>
            ) : channel.last_sent_at === null ? (
              <State kind="unknown">never used</State>
            ) : (
              <State kind="ok">works</State>
            )}
          </Group>
          <Text size="sm" c="var(--state-unknown)" component="div">
            {channel.kind} {channel.settings.to ?? hostOf(channel.settings.url)} · from {channel.min_severity} on
            {channel.last_sent_at !== null && (
              <>
                {' '}
                · last told <When at={channel.last_sent_at} />
              </>
            )}
          </Text>
        </div>
        <Group gap="xs">
          <Button size="xs" variant="default" loading={test.isPending} onClick={() => test.mutate()}>
            {test.isSuccess ? 'Taken' : 'Send a test'}
          </Button>
          <Button size="xs" variant="default" loading={remove.isPending} onClick={() => remove.mutate()}>
            Remove
          </Button>
        </Group>
      </Group>
      {problem ? <Failure error={problem} /> : channel.last_error !== '' && <Failure error={new Error(channel.last_error)} />}
    </>
  )
}

function hostOf(url: string | undefined): string {
  return url !== undefined && URL.canParse(url) ? new URL(url).host : ''
}

const empty = {
  name: '',
  kind: 'webhook',
  url: '',
  server: '',
  port: '587',
  from: '',
  to: '',
  user: '',
  tls: 'starttls',
  secret: '',
  severity: 'warning',
}

function NewChannel({ isOpen, close }: DialogProps) {
  const queries = useQueryClient()
  const [form, setForm] = useState(empty)
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change })
  const { url, server, port, from, to, user, tls } = form
  const create = useMutation({
    mutationFn: () =>
      api('POST', '/notification-channels', {
        name: form.name,
        kind: form.kind,
        settings: form.kind === 'webhook' ? { url } : { server, port, from, to, tls, ...(user === '' ? {} : { user }) },
        secret: form.secret,
        min_severity: form.severity,
      }),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ['channels'] })
      setForm(empty)
      close()
    },
  })
  return (
    <Dialog
      title="New channel"
      isOpen={isOpen}
      close={close}
      problem={create.error}
      submit={() => create.mutate()}
      isBusy={create.isPending}
      word="Add it"
    >
      <TextInput
        label="Name"
        required
        data-autofocus
        value={form.name}
        onChange={(event) => set({ name: event.currentTarget.value })}
      />
      <Group grow>
        <Select
          label="How"
          data={[
            { value: 'webhook', label: 'Webhook' },
            { value: 'smtp', label: 'Mail' },
          ]}
          value={form.kind}
          allowDeselect={false}
          onChange={(kind) => set({ kind: kind ?? 'webhook' })}
        />
        <Select
          label="From which severity on"
          data={['info', 'warning', 'critical']}
          value={form.severity}
          allowDeselect={false}
          onChange={(severity) => set({ severity: severity ?? 'warning' })}
        />
      </Group>
      {form.kind === 'webhook' ? (
        <>
          <TextInput label="URL" type="url" required value={url} onChange={(event) => set({ url: event.currentTarget.value })} />
          <PasswordInput
            label="Signing secret"
            description="signs each message, if you give one"
            value={form.secret}
            onChange={(event) => set({ secret: event.currentTarget.value })}
          />
        </>
      ) : (
        <>
          <Group grow>
            <TextInput label="Server" required value={server} onChange={(event) => set({ server: event.currentTarget.value })} />
            <TextInput label="Port" required value={port} onChange={(event) => set({ port: event.currentTarget.value })} />
          </Group>
          <Select
            label="TLS"
            data={['starttls', 'implicit', 'none']}
            value={tls}
            allowDeselect={false}
            onChange={(value) => set({ tls: value ?? 'starttls' })}
          />
          <Group grow>
            <TextInput
              label="From"
              type="email"
              required
              value={from}
              onChange={(event) => set({ from: event.currentTarget.value })}
            />
            <TextInput label="To" required value={to} onChange={(event) => set({ to: event.currentTarget.value })} />
          </Group>
          <Group grow>
            <TextInput label="User" value={user} onChange={(event) => set({ user: event.currentTarget.value })} />
            <PasswordInput label="Password" value={form.secret} onChange={(event) => set({ secret: event.currentTarget.value })} />
          </Group>
        </>
      )}
    </Dialog>
  )
}
