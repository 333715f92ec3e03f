import { Button, List, Text } from '@mantine/core'
import { useState } from 'react'
import { api } from '../api.ts'
import { useChange } from '../change.ts'
import type { Retention } from '../types.ts'
import { plural } from '../words.ts'
import { Dialog } from './dialog.tsx'

/** What would go is shown before it goes. */
export function Prune({ retention: { items, stopped } }: { retention: Retention }) {
  const [isOpen, setOpen] = useState(false)
  const going = items.filter(({ is_kept }) => !is_kept)
  const close = () => setOpen(false)
  const prune = useChange(() => api('POST', '/retention/apply'), close)
  if (stopped !== '')
    return (
      <Text size="sm" c="var(--state-soon)">
        Nothing is removed now: {stopped}
      </Text>
    )
  if (going.length === 0) return null
  return (
    <>
      <Button variant="default" size="xs" onClick={() => setOpen(true)}>
        Remove {plural(going.length, 'bundle')}…
      </Button>
      <Dialog
        title={`Remove ${plural(going.length, 'bundle')}`}
        isOpen={isOpen}
        close={close}
        problem={prune.error}
        submit={() => prune.mutate()}
        isBusy={prune.isPending}
        word="Remove"
      >
        <Text size="sm">No rule keeps these. They are gone afterwards; the next backup would remove them as well.</Text>
        <List size="sm">
          {going.map(({ name, reasons }) => (
            <List.Item key={name} style={{ overflowWrap: 'anywhere' }}>
              {name}: {reasons.join('; ')}
            </List.Item>
          ))}
        </List>
      </Dialog>
    </>
  )
}
