import { Button, Group, PasswordInput, Select, Stack, Text, TextInput, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { api, get } from '../api.ts'
import { useChange } from '../change.ts'
import { AccountFields, useNewAccount } from '../parts/account-form.tsx'
import { Dialog, type DialogProps } from '../parts/dialog.tsx'
import { PageHead } from '../parts/page.tsx'
import { Empty, Failure, State, Waiting } from '../parts/states.tsx'
import { When } from '../parts/time.tsx'
import type { AcmeAccount, Authority, DnsCredential, Page, Project } from '../types.ts'

type Opened = 'ca' | 'account' | 'zone' | undefined

export function IssuersPage() {
  const cas = useQuery({ queryKey: ['cas'], queryFn: () => get<Page<Authority>>('/cas?limit=500') })
  const accounts = useQuery({ queryKey: ['acme-accounts'], queryFn: () => get<Page<AcmeAccount>>('/acme-accounts?limit=500') })
  const zones = useQuery({ queryKey: ['dns-credentials'], queryFn: () => get<Page<DnsCredential>>('/dns-credentials?limit=500') })
  const projects = useQuery({ queryKey: ['projects'], queryFn: () => get<Page<Project>>('/projects?limit=500') })
  const [opened, open] = useState<Opened>()
  const failed = [cas, accounts, zones, projects].find((query) => query.isError)
  if (failed?.error) return <Failure error={failed.error} retry={failed.refetch} />
  if (!cas.data || !accounts.data || !zones.data || !projects.data) return <Waiting rows={6} />
  const project = projects.data.items[0]?.name ?? 'default'
  const close = () => open(undefined)
  return (
    <>
      <PageHead title="Issuers" />
      <Stack gap="lg">
        <Section title="Internal CAs" add={() => open('ca')}>
          {cas.data.items.length === 0 && (
            <Empty
              title="No CA of your own"
              text="A root and an intermediate that sign for names only you use. Their keys are sealed and part of every backup."
              command="certautopilot ca create Internal"
            />
          )}
          {cas.data.items.map((ca) => (
            <Line
              key={ca._id}
              name={ca.name}
              detail={
                <>
                  CRL number {ca.crl_number} · made <When at={ca.created_at} />
                </>
              }
            >
              <Button
                component="a"
                size="xs"
                variant="default"
                href={`data:application/x-pem-file,${encodeURIComponent(ca.root_pem)}`}
                download={`${ca.name}-root.pem`}
              >
                Root certificate
              </Button>
            </Line>
          ))}
        </Section>
        <Section title="ACME accounts" add={() => open('account')}>
          {accounts.data.items.length === 0 && (
            <Empty
              title="No ACME account"
              text="Publicly trusted certificates, for nothing: start with a staging CA, then make an account at the real one."
              command="certautopilot acme create le --ca letsencrypt-staging --agree"
            />
          )}
          {accounts.data.items.map((account) => (
            <Account key={account._id} account={account} />
          ))}
        </Section>
        <Section title="DNS credentials" add={() => open('zone')}>
          {zones.data.items.length === 0 && (
            <Empty
              title="No DNS credential"
              text="Proves names by DNS-01: needed for wildcards, and for names that are not reached from the internet."
              command="certautopilot dns create zone --provider rfc2136 --set server=ns1.example.org --set key_name=acme"
            />
          )}
          {zones.data.items.map((zone) => (
            <Zone key={zone._id} zone={zone} />
          ))}
        </Section>
      </Stack>
      <NewCa isOpen={opened === 'ca'} close={close} />
      <NewAccount isOpen={opened === 'account'} close={close} project={project} />
      <NewZone isOpen={opened === 'zone'} close={close} project={project} />
    </>
  )
}

function Section({ title, add, children }: { title: string; add: () => void; children: ReactNode }) {
  return (
    <section>
      <Group justify="space-between" mb="xs">
        <Title order={2} size="h5">
          {title}
        </Title>
        <Button size="xs" variant="default" onClick={add} aria-label={`add to ${title}`}>
          Add
        </Button>
      </Group>
      <div className="card">{children}</div>
    </section>
  )
}

function Line({ name, detail, children }: { name: ReactNode; detail: ReactNode; children?: ReactNode }) {
  return (
    <Group justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
      <div style={{ minWidth: 0 }}>
        <Group gap="xs">{typeof name === 'string' ? <Text fw={500}>{name}</Text> : name}</Group>
        <Text size="sm" c="var(--state-unknown)" component="div">
          {detail}
        </Text>
      </div>
      <Group gap="xs">{children}</Group>
    </Group>
  )
}

function Account({ account }: { account: AcmeAccount }) {
  const roll = useChange(() => api('POST', `/acme-accounts/${account._id}/key-change`))
  const remove = useChange(() => api('DELETE', `/acme-accounts/${account._id}`))
  const { used, limit, hours } = account.orders
  const problem = roll.error ?? remove.error
  return (
    <>
      <Line
        name={
          <>
            <Text fw={500}>{account.name}</Text>
            {account.is_staging && <State kind="unknown">staging</State>}
          </>
        }
        detail={
          <>
            {new URL(account.directory_url).host} ·{' '}
            <span className="figures">
              {used} of {limit}
            </span>{' '}
            orders in {hours} h{account.profile && ` · profile ${account.profile}`}
          </>
        }
      >
        <Button size="xs" variant="default" loading={roll.isPending} onClick={() => roll.mutate()}>
          {roll.isSuccess ? 'Key changed' : 'Change key'}
        </Button>
        <Button size="xs" variant="default" loading={remove.isPending} onClick={() => remove.mutate()}>
          Forget
        </Button>
      </Line>
      {problem && <Failure error={problem} />}
    </>
  )
}

function Zone({ zone }: { zone: DnsCredential }) {
  const [domain, setDomain] = useState('')
  const test = useChange(() => api<{ zone: string; seconds: number }>('POST', `/dns-credentials/${zone._id}/test`, { domain }))
  const remove = useChange(() => api('DELETE', `/dns-credentials/${zone._id}`))
  const problem = test.error ?? remove.error
  return (
    <>
      <Line
        name={
          <>
            <Text fw={500}>{zone.name}</Text>
            {zone.probed_at === null ? (
              <State kind="unknown">not tested</State>
            ) : zone.probe_error === '' ? (
              <State kind="ok">works</State>
            ) : (
              <State kind="failing">does not work</State>
            )}
          </>
        }
        detail={
          <>
            {zone.provider} {zone.settings.server ?? ''}
            {zone.probed_at !== null && (
              <>
                {' '}
                · tested <When at={zone.probed_at} />
              </>
            )}
          </>
        }
      >
        <TextInput
          size="xs"
          placeholder="example.org"
          aria-label={`domain to test ${zone.name} with`}
          value={domain}
          onChange={(event) => setDomain(event.currentTarget.value)}
        />
        <Button size="xs" variant="default" disabled={domain === ''} loading={test.isPending} onClick={() => test.mutate()}>
          Test
        </Button>
        <Button size="xs" variant="default" loading={remove.isPending} onClick={() => remove.mutate()}>
          Forget
        </Button>
      </Line>
      {problem ? <Failure error={problem} /> : zone.probe_error !== '' && <Failure error={new Error(zone.probe_error)} />}
      {test.data && (
        <Text size="sm" px="md" pb="sm">
          A record was written to zone {test.data.zone}, seen at all its servers and removed, in {test.data.seconds.toFixed(1)} s.
        </Text>
      )}
    </>
  )
}

function NewCa({ isOpen, close }: DialogProps) {
  const [name, setName] = useState('Internal')
  const create = useChange(() => api('POST', '/cas', { name }), close)
  return (
    <Dialog
      title="New internal CA"
      isOpen={isOpen}
      close={close}
      problem={create.error}
      submit={() => create.mutate()}
      isBusy={create.isPending}
      word="Make the CA"
    >
      <Text size="sm">
        A root (signs the intermediate) and an intermediate (signs certificates), both P-256. Clients must trust the root.
      </Text>
      <TextInput label="Name" required value={name} onChange={(event) => setName(event.currentTarget.value)} data-autofocus />
    </Dialog>
  )
}

function NewAccount({ isOpen, close, project }: DialogProps & { project: string }) {
  const { create, ...fields } = useNewAccount(project, close)
  return (
    <Dialog
      title="New ACME account"
      isOpen={isOpen}
      close={close}
      problem={create.error}
      submit={() => create.mutate()}
      isBusy={create.isPending}
      word="Make the account"
    >
      <AccountFields {...fields} />
    </Dialog>
  )
}

const providers = [
  { value: 'rfc2136', label: 'Dynamic updates (RFC 2136): BIND, Knot, PowerDNS' },
  { value: 'cloudflare', label: 'Cloudflare' },
  { value: 'route53', label: 'Amazon Route 53' },
]
const secretLabels: Record<string, string> = { rfc2136: 'TSIG key (base64)', cloudflare: 'API token', route53: 'Secret access key' }

function NewZone({ isOpen, close, project }: DialogProps & { project: string }) {
  const [form, setForm] = useState({
    name: '',
    provider: 'rfc2136',
    server: '',
    port: '53',
    key_name: '',
    algorithm: 'hmac-sha256',
    access_key_id: '',
    check_servers: '',
    secret: '',
  })
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change })
  const { server, port, key_name, algorithm, access_key_id, check_servers } = form
  const own: Record<string, Record<string, string>> = {
    rfc2136: { server, port, key_name, algorithm },
    cloudflare: {},
    route53: { access_key_id },
  }
  const settings = { ...own[form.provider], ...(check_servers === '' ? {} : { check_servers }) }
  const { name, provider, secret } = form
  const create = useChange(() => api('POST', '/dns-credentials', { project, name, provider, settings, secret }), close)
  return (
    <Dialog
      title="New DNS credential"
      isOpen={isOpen}
      close={close}
      problem={create.error}
      submit={() => create.mutate()}
      isBusy={create.isPending}
      word="Keep it"
    >
      <TextInput
        label="Name"
        required
        value={form.name}
        onChange={(event) => set({ name: event.currentTarget.value })}
        data-autofocus
      />
      <Select
        label="Provider"
        data={providers}
        value={form.provider}
        allowDeselect={false}
        onChange={(value) => set({ provider: value ?? 'rfc2136' })}
      />
      {form.provider === 'rfc2136' && (
        <>
          <Group grow align="flex-start">
            <TextInput
              label="Primary server"
              required
              value={server}
              onChange={(event) => set({ server: event.currentTarget.value })}
            />
            <TextInput label="Port" required value={port} onChange={(event) => set({ port: event.currentTarget.value })} />
          </Group>
          <Group grow align="flex-start">
            <TextInput
              label="Key name"
              required
              value={key_name}
              onChange={(event) => set({ key_name: event.currentTarget.value })}
            />
            <Select
              label="Algorithm"
              data={['hmac-sha256', 'hmac-sha384', 'hmac-sha512']}
              value={algorithm}
              allowDeselect={false}
              onChange={(value) => set({ algorithm: value ?? 'hmac-sha256' })}
            />
          </Group>
        </>
      )}
      {form.provider === 'route53' && (
        <TextInput
          label="Access key id"
          required
          value={access_key_id}
          onChange={(event) => set({ access_key_id: event.currentTarget.value })}
        />
      )}
      <PasswordInput
        label={secretLabels[form.provider]}
        required
        value={form.secret}
        onChange={(event) => set({ secret: event.currentTarget.value })}
      />
      <TextInput
        label="Servers that must show a record"
        description="ADDRESS or ADDRESS:PORT, comma separated; the zone's own if empty"
        value={check_servers}
        onChange={(event) => set({ check_servers: event.currentTarget.value })}
      />
    </Dialog>
  )
}
