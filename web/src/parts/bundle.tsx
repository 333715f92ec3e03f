import { Button, Group, Stack, Text, TextInput } from '@mantine/core'
import { useState } from 'react'
import { api } from '../api.ts'
import { useChange } from '../change.ts'
import type { Backup, Retention } from '../types.ts'
import { bytes, plural } from '../words.ts'
import { Contents } from './bundle-contents.tsx'
import { Dialog, type DialogProps } from './dialog.tsx'
import { Failure, State, type StateKind } from './states.tsx'
import { When } from './time.tsx'

export type BackupStanding = Pick<Backup, 'created_at' | 'is_damaged' | 'failure' | 'suspect' | 'verified_at'>

export function backupState(backup: BackupStanding): { kind: StateKind; word: string } {
  if (backup.is_damaged) return { kind: 'failing', word: 'damaged' }
  if (backup.failure !== '') return { kind: 'failing', word: 'failed verification' }
  if (backup.suspect !== '') return { kind: 'soon', word: 'suspect' }
  return backup.verified_at === null ? { kind: 'soon', word: 'unverified' } : { kind: 'ok', word: 'verified' }
}

interface BundleProps {
  backup: Backup
  isBusy: boolean
  verify: () => void
  retention: Retention['items'][number] | undefined
}

export function Bundle({ backup, isBusy, verify, retention }: BundleProps) {
  const { kind, word } = backupState(backup)
  const [isOpen, setOpen] = useState(false)
  const [isPinning, setPinning] = useState(false)
  const [isAccepting, setAccepting] = useState(false)
  const unpin = useChange(() => api('DELETE', `/backups/${encodeURIComponent(backup.name)}/pin`))
  return (
    <Group justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
      <Stack gap={2} miw={0}>
        <Text className="figures" style={{ overflowWrap: 'anywhere' }}>
          {backup.name}
        </Text>
        <Text size="sm" c="var(--state-unknown)" className="figures">
          {bytes(backup.bytes)} · {plural(backup.counts.certificates ?? 0, 'certificate')} · KEK{' '}
          {backup.kek_versions.map(({ version }) => `v${version}`).join(', ') || '?'} ·{' '}
          {backup.created_at && <When at={backup.created_at} />}
        </Text>
        {backup.copies.length > 0 && (
          <Text size="sm" c="var(--state-unknown)">
            also at {backup.copies.map(({ target }) => target).join(', ')}
          </Text>
        )}
        {retention && (
          <Text size="sm" c="var(--state-unknown)">
            {retention.is_kept ? 'stays' : 'goes next'}: {retention.reasons.join('; ')}
          </Text>
        )}
        {(backup.failure || backup.suspect) && (
          <Text size="sm" c="var(--state-failing)">
            {backup.failure || backup.suspect}
          </Text>
        )}
      </Stack>
      <Group gap="sm">
        <State kind={kind}>{word}</State>
        <Button size="xs" variant="default" disabled={isBusy || backup.is_damaged} onClick={verify}>
          Verify
        </Button>
        {backup.suspect !== '' && (
          <Button size="xs" variant="default" onClick={() => setAccepting(true)}>
            Accept…
          </Button>
        )}
        <Button
          size="xs"
          variant="default"
          loading={unpin.isPending}
          onClick={() => (backup.pin === null ? setPinning(true) : unpin.mutate())}
        >
          {backup.pin === null ? 'Pin…' : 'Unpin'}
        </Button>
        {backup.created_at !== null && (
          <Button size="xs" variant="default" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
            Contents
          </Button>
        )}
      </Group>
      {unpin.isError && <Failure error={unpin.error} />}
      {isOpen && <Contents name={backup.name} />}
      <PinDialog name={backup.name} isOpen={isPinning} close={() => setPinning(false)} />
      <AcceptDialog backup={backup} isOpen={isAccepting} close={() => setAccepting(false)} />
    </Group>
  )
}

function PinDialog({ name, isOpen, close }: DialogProps & { name: string }) {
  const [reason, setReason] = useState('')
  const [until, setUntil] = useState('')
  const pin = useChange(() => {
    const body = { reason, until: until === '' ? null : new Date(until).toISOString() }
    return api('PUT', `/backups/${encodeURIComponent(name)}/pin`, body)
  }, close)
  return (
    <Dialog
      title="Pin a bundle"
      isOpen={isOpen}
      close={close}
      problem={pin.error}
      submit={() => pin.mutate()}
      isBusy={pin.isPending}
      word="Pin"
    >
      <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
        {name} stays, whatever the rules of retention say.
      </Text>
      <TextInput label="Why" required value={reason} onChange={(event) => setReason(event.currentTarget.value)} data-autofocus />
      <TextInput
        label="Until"
        description="for ever if empty"
        type="date"
        value={until}
        onChange={(event) => setUntil(event.currentTarget.value)}
      />
    </Dialog>
  )
}

function AcceptDialog({ backup, isOpen, close }: DialogProps & { backup: Backup }) {
  const [reason, setReason] = useState('')
  const accept = useChange(() => api('PUT', `/backups/${encodeURIComponent(backup.name)}/acceptance`, { reason }), close)
  return (
    <Dialog
      title="Accept a suspect bundle"
      isOpen={isOpen}
      close={close}
      problem={accept.error}
      submit={() => accept.mutate()}
      isBusy={accept.isPending}
      word="Accept"
    >
      <Text size="sm">
        {backup.suspect}. When that is right, the next bundles are compared with this one, and retention goes on.
      </Text>
      <TextInput label="Why" required value={reason} onChange={(event) => setReason(event.currentTarget.value)} data-autofocus />
    </Dialog>
  )
}
