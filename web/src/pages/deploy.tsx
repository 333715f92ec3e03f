import { Button, Group, PasswordInput, Select, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api, get } from '../api.ts'
import { Dialog, type DialogProps } from '../parts/dialog.tsx'
import { PageHead } from '../parts/page.tsx'
import { Empty, Failure, Waiting } from '../parts/states.tsx'
import type { DeployTarget, Page } from '../types.ts'

export function DeployPage() {
  const targets = useQuery({ queryKey: ['deploy-targets'], queryFn: () => get<Page<DeployTarget>>('/deploy-targets?limit=500') })
  const [isOpen, setOpen] = useState(false)
  return (
    <>
      <PageHead title="Deploy" action={<Button onClick={() => setOpen(true)}>Add a place</Button>} />
      {targets.isError && <Failure error={targets.error} retry={targets.refetch} />}
      {targets.isPending && <Waiting rows={3} />}
      <div className="card">
        {targets.data?.items.length === 0 && (
          <Empty
            title="No place yet"
            text="Files on this host with a command that makes the server read them, or a webhook. Attach certificates on their own pages: they are put there now and after each renewal, and what was there comes back when the server does not take them."
            action={<Button onClick={() => setOpen(true)}>Add the first place</Button>}
            command="certautopilot deploy create nginx --set certificate_path=/etc/nginx/tls/web.pem …"
          />
        )}
        {targets.data?.items.map((target) => (
          <Line key={target._id} target={target} />
        ))}
      </div>
      <NewTarget isOpen={isOpen} close={() => setOpen(false)} />
    </>
  )
}

function Line({ target }: { target: DeployTarget }) {
  const queries = useQueryClient()
  const remove = useMutation({
    mutationFn: () => api('DELETE', `/deploy-targets/${target._id}`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ['deploy-targets'] }),
  })
  return (
    <>
      <Group justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
        <div>
          <Text fw={500}>{target.name}</Text>
          <Text size="sm" c="var(--state-unknown)" style={{ overflowWrap: 'anywhere' }}>
            {target.kind} · {target.settings.certificate_path ?? target.settings.url}
            {target.settings.check && ` · seen at ${target.settings.check}`}
          </Text>
        </div>
        <Button size="xs" variant="default" loading={remove.isPending} onClick={() => remove.mutate()}>
          Forget
        </Button>
      </Group>
      {remove.isError && <Failure error={remove.error} />}
    </>
  )
}

const empty = { name: '', kind: 'file', certificate_path: '', key_path: '', reload: '', check: '', url: '', secret: '' }

function NewTarget({ isOpen, close }: DialogProps) {
  const queries = useQueryClient()
  const [form, setForm] = useState(empty)
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change })
  const { certificate_path, key_path, reload, check, url } = form
  const given = (settings: Record<string, string>) =>
    Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== ''))
  const create = useMutation({
    mutationFn: () =>
      api('POST', '/deploy-targets', {
        name: form.name,
        kind: form.kind,
        settings: form.kind === 'file' ? given({ certificate_path, key_path, reload, check }) : { url },
        secret: form.secret,
      }),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ['deploy-targets'] })
      setForm(empty)
      close()
    },
  })
  return (
    <Dialog
      title="New place"
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
      <Select
        label="How"
        data={[
          { value: 'file', label: 'Files on this host' },
          { value: 'webhook', label: 'Webhook' },
        ]}
        value={form.kind}
        allowDeselect={false}
        onChange={(kind) => set({ kind: kind ?? 'file' })}
      />
      {form.kind === 'file' ? (
        <>
          <TextInput
            label="Certificate and chain"
            description="a path that deploy.folders in config.yaml allows"
            required
            value={certificate_path}
            onChange={(event) => set({ certificate_path: event.currentTarget.value })}
          />
          <TextInput
            label="Private key"
            description="a path; mode 600"
            value={key_path}
            onChange={(event) => set({ key_path: event.currentTarget.value })}
          />
          <TextInput
            label="Then run"
            description="a command that deploy.commands in config.yaml allows"
            value={reload}
            onChange={(event) => set({ reload: event.currentTarget.value })}
          />
          <TextInput
            label="Then see it at"
            description="HOST:PORT that must serve the new certificate"
            value={check}
            onChange={(event) => set({ check: event.currentTarget.value })}
          />
        </>
      ) : (
        <>
          <TextInput label="URL" type="url" required value={url} onChange={(event) => set({ url: event.currentTarget.value })} />
          <PasswordInput
            label="Signing secret"
            value={form.secret}
            onChange={(event) => set({ secret: event.currentTarget.value })}
          />
        </>
      )}
    </Dialog>
  )
}
