import { Button, Group, TagsInput, Text } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api } from '../api.ts'
import type { Certificate } from '../types.ts'
import { count, plural } from '../words.ts'
import { Dialog, type DialogProps } from './dialog.tsx'

const bulkAtOnce = 5

/** What is done with all that are selected. */
export function Bulk({ selected, items, clear }: { selected: ReadonlySet<string>; items: Certificate[]; clear: () => void }) {
  const queries = useQueryClient()
  const [state, setState] = useState('')
  const chosen = items.filter(({ _id }) => selected.has(_id))
  const renewable = chosen.filter(({ kind, has_key }) => kind === 'managed' && has_key)
  const each = async (things: Certificate[], word: string, change: (id: string) => Promise<unknown>) => {
    let done = 0
    let failed = 0
    for (let start = 0; start < things.length; start += bulkAtOnce) {
      const results = await Promise.allSettled(things.slice(start, start + bulkAtOnce).map(({ _id }) => change(_id)))
      failed += results.filter(({ status }) => status === 'rejected').length
      done += results.length
      setState(`${word} ${count(done)} of ${count(things.length)}${failed > 0 ? `, ${failed} refused` : ''}`)
    }
    await queries.invalidateQueries()
    if (failed === 0) clear()
  }
  const renew = () => each(renewable, 'queued', (id) => api('POST', `/certificates/${id}/renew`))
  const tag = (change: { add: string[]; remove: string[] }) =>
    each(chosen, 'tagged', (id) => api('POST', `/certificates/${id}/tag`, change))
  const [isTagging, setTagging] = useState(false)
  return (
    <Group gap="xs">
      <Text size="sm" className="figures" aria-live="polite">
        {state || `${count(selected.size)} selected`}
      </Text>
      <Button size="xs" disabled={renewable.length === 0} onClick={renew}>
        Renew {count(renewable.length)}
      </Button>
      <Button size="xs" variant="default" onClick={() => setTagging(true)}>
        Tag…
      </Button>
      <Button size="xs" variant="default" onClick={() => exportCsv(chosen)}>
        Export CSV
      </Button>
      <Button size="xs" variant="subtle" onClick={clear}>
        Clear
      </Button>
      <TagDialog isOpen={isTagging} close={() => setTagging(false)} apply={tag} of={chosen} />
    </Group>
  )
}

interface TagDialogProps extends DialogProps {
  apply: (change: { add: string[]; remove: string[] }) => Promise<void>
  of: Certificate[]
}

function TagDialog({ isOpen, close, apply, of }: TagDialogProps) {
  const [add, setAdd] = useState<string[]>([])
  const [remove, setRemove] = useState<string[]>([])
  const known = [...new Set(of.flatMap(({ tags }) => tags))].sort()
  return (
    <Dialog
      title={`Tag ${plural(of.length, 'certificate')}`}
      isOpen={isOpen}
      close={close}
      problem={null}
      submit={() => {
        close()
        void apply({ add, remove })
      }}
      isBusy={false}
      word="Tag"
    >
      <TagsInput label="Add" description="lower case words; Enter ends one" value={add} onChange={setAdd} data-autofocus />
      <TagsInput label="Remove" data={known} value={remove} onChange={setRemove} />
    </Dialog>
  )
}

function exportCsv(items: Certificate[]): void {
  const columns = ['name', 'state', 'kind', 'issuer', 'not_before', 'not_after', 'serial', 'fingerprint', 'tags'] as const
  const lines = [columns.join(','), ...items.map((item) => columns.map((column) => csvField(String(item[column]))).join(','))]
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([`${lines.join('\r\n')}\r\n`], { type: 'text/csv' }))
  link.download = 'certificates.csv'
  link.click()
  URL.revokeObjectURL(link.href)
}

/** Quoted, and no text that a spreadsheet would run. */
function csvField(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return `"${safe.replaceAll('"', '""')}"`
}
