import { Button, Checkbox, Group, Select, Text, TextInput } from '@mantine/core'
import { useDebouncedValue, useMediaQuery } from '@mantine/hooks'
import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useMemo, useRef, useState } from 'react'
import { Link, useSearchParams } from 'wouter'
import { api, get } from '../api.ts'
import { certificateState, DaysLeft } from '../parts/certificate-state.tsx'
import { ExpiryStrip } from '../parts/expiry-strip.tsx'
import { Icon } from '../parts/icons.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Empty, Failure, State, Waiting } from '../parts/states.tsx'
import type { Certificate, Page } from '../types.ts'
import { count, plural } from '../words.ts'

const filters = ['search', 'state', 'kind', 'sort'] as const
const pageSize = 200
const rowPx = 44
const bulkAtOnce = 5

export function CertificatesPage() {
  const [parameters, setParameters] = useSearchParams()
  const query = useMemo(() => {
    const kept = new URLSearchParams()
    for (const name of filters) if (parameters.get(name)) kept.set(name, parameters.get(name) as string)
    return kept.toString()
  }, [parameters])
  const set = (name: string, value: string | null) =>
    setParameters(
      (before) => {
        const next = new URLSearchParams(before)
        if (value) next.set(name, value)
        else next.delete(name)
        return next
      },
      { replace: true },
    )
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set())

  const total = useQuery({
    queryKey: ['certificates', 'count', query],
    queryFn: () => get<{ count: number }>(`/certificates/count?${query}`),
  })
  const list = useInfiniteQuery({
    queryKey: ['certificates', 'list', query],
    queryFn: ({ pageParam }) =>
      get<Page<Certificate>>(
        `/certificates?limit=${pageSize}&${query}${pageParam ? `&cursor=${encodeURIComponent(pageParam)}` : ''}`,
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (before) => before,
  })
  const items = useMemo(() => list.data?.pages.flatMap((page) => page.items) ?? [], [list.data])
  const hasFilter = query !== ''

  return (
    <>
      <PageHead
        title="Certificates"
        action={
          <Button component={Link} href="/certificates/new" leftSection={<Icon name="plus" size={16} />}>
            Issue
          </Button>
        }
      />
      <Card>
        <ExpiryStrip />
      </Card>
      <Filters parameters={parameters} set={set} />
      <Group justify="space-between" mih={36} mb="xs">
        <Text size="sm" c="var(--state-unknown)" className="figures" aria-live="polite">
          {total.data ? plural(total.data.count, 'certificate') : ' '}
        </Text>
        {selected.size > 0 && <Bulk selected={selected} items={items} clear={() => setSelected(new Set())} />}
      </Group>
      {list.isError && <Failure error={list.error} retry={list.refetch} />}
      {list.isPending && <Waiting rows={10} />}
      {list.isSuccess && items.length === 0 && !hasFilter && (
        <Card>
          <Empty
            title="No certificate yet"
            text="Certificates that are issued here are renewed by themselves; those of others are watched."
            action={
              <Button component={Link} href="/certificates/new">
                Issue the first
              </Button>
            }
            command="certautopilot cert import /etc/ssl/certs"
          />
        </Card>
      )}
      {list.isSuccess && items.length === 0 && hasFilter && (
        <Card>
          <Empty
            title="Nothing matches"
            text="No certificate has all of this."
            action={
              <Button variant="default" onClick={() => setParameters(new URLSearchParams())}>
                Clear filters
              </Button>
            }
          />
        </Card>
      )}
      {items.length > 0 && (
        <Rows
          items={items}
          total={total.data?.count ?? items.length}
          selected={selected}
          select={setSelected}
          more={list.hasNextPage && !list.isFetchingNextPage ? list.fetchNextPage : undefined}
        />
      )}
    </>
  )
}

function Filters({ parameters, set }: { parameters: URLSearchParams; set: (name: string, value: string | null) => void }) {
  const fromUrl = parameters.get('search') ?? ''
  const [text, setText] = useState(fromUrl)
  const [settled] = useDebouncedValue(text, 200)
  // biome-ignore lint/correctness/useExhaustiveDependencies: the address follows the field, not the reverse
  useEffect(() => {
    if (settled !== fromUrl) set('search', settled)
  }, [settled])
  useEffect(() => setText(fromUrl), [fromUrl])
  return (
    <Group my="sm" gap="xs" align="flex-end">
      <TextInput
        flex={1}
        miw={180}
        leftSection={<Icon name="search" size={16} />}
        placeholder="Name, issuer, serial or fingerprint"
        aria-label="filter certificates"
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Select
        w={150}
        aria-label="state"
        placeholder="Any state"
        clearable
        data={['active', 'expiring', 'expired', 'failing', 'requested', 'revoked']}
        value={parameters.get('state')}
        onChange={(value) => set('state', value)}
      />
      <Select
        w={150}
        aria-label="kind"
        placeholder="Any kind"
        clearable
        data={['managed', 'watched']}
        value={parameters.get('kind')}
        onChange={(value) => set('kind', value)}
      />
      <Select
        w={150}
        aria-label="order"
        allowDeselect={false}
        data={[
          { value: 'not_after', label: 'By expiry' },
          { value: 'name', label: 'By name' },
        ]}
        value={parameters.get('sort') ?? 'not_after'}
        onChange={(value) => set('sort', value === 'not_after' ? null : value)}
      />
    </Group>
  )
}

interface RowsProps {
  items: Certificate[]
  total: number
  selected: ReadonlySet<string>
  select: (ids: ReadonlySet<string>) => void
  more: (() => unknown) | undefined
}

/** Only the rows that are seen exist. */
function Rows({ items, total, selected, select, more }: RowsProps) {
  const box = useRef<HTMLDivElement>(null)
  const isNarrow = useMediaQuery('(max-width: 48em)', window.innerWidth < 768, { getInitialValueInEffect: false })
  const rows = useVirtualizer({ count: items.length, getScrollElement: () => box.current, estimateSize: () => rowPx, overscan: 12 })
  const last = rows.getVirtualItems().at(-1)?.index ?? 0
  useEffect(() => {
    if (last > items.length - pageSize / 2) more?.()
  }, [last, items.length, more])
  const columns = isNarrow ? '28px minmax(0, 1fr) auto' : '28px minmax(0, 2.4fr) 150px minmax(0, 1.4fr) 120px 100px'
  const toggle = (id: string) => {
    const next = new Set(selected)
    if (!next.delete(id)) next.add(id)
    select(next)
  }
  return (
    <div
      className="card rows"
      ref={box}
      style={{ height: 'max(320px, calc(100dvh - 340px))' }}
      role="table"
      aria-rowcount={total + 1}
      aria-label="certificates"
      tabIndex={0}
    >
      <div className="row" data-head role="row" style={{ gridTemplateColumns: columns }}>
        <span role="columnheader">
          <Checkbox
            size="xs"
            aria-label="select all that are loaded"
            checked={selected.size === items.length}
            indeterminate={selected.size > 0 && selected.size < items.length}
            onChange={() => select(selected.size === items.length ? new Set() : new Set(items.map(({ _id }) => _id)))}
          />
        </span>
        <span role="columnheader">Name</span>
        <span role="columnheader">{isNarrow ? 'State' : 'Expires'}</span>
        {!isNarrow && <span role="columnheader">Issuer</span>}
        {!isNarrow && <span role="columnheader">State</span>}
        {!isNarrow && <span role="columnheader">Kind</span>}
      </div>
      <div role="rowgroup" style={{ height: rows.getTotalSize(), position: 'relative' }}>
        {rows.getVirtualItems().map(({ index, start }) => {
          const item = items[index] as Certificate
          const { kind, word } = certificateState(item)
          return (
            <div
              key={item._id}
              className="row"
              data-link
              role="row"
              aria-rowindex={index + 2}
              style={{
                gridTemplateColumns: columns,
                position: 'absolute',
                insetInline: 0,
                height: rowPx,
                transform: `translateY(${start}px)`,
              }}
            >
              <span role="cell">
                <Checkbox
                  size="xs"
                  aria-label={`select ${item.name}`}
                  checked={selected.has(item._id)}
                  onChange={() => toggle(item._id)}
                />
              </span>
              <span role="cell" className="cut">
                <Link href={`/certificates/${item._id}`} title={item.sans.join(', ')}>
                  {item.name}
                </Link>
              </span>
              {isNarrow ? (
                <span role="cell">
                  <State kind={kind}>{word}</State>
                </span>
              ) : (
                <>
                  <span role="cell">
                    <DaysLeft certificate={item} />
                  </span>
                  <span role="cell" className="cut">
                    {item.issuer}
                  </span>
                  <span role="cell">
                    <State kind={kind}>{word}</State>
                  </span>
                  <span role="cell">{item.kind}</span>
                </>
              )}
            </div>
          )
        })}
      </div>
    </div>
  )
}

function Bulk({ selected, items, clear }: { selected: ReadonlySet<string>; items: Certificate[]; clear: () => void }) {
  const queries = useQueryClient()
  const [state, setState] = useState('')
  const chosen = items.filter(({ _id }) => selected.has(_id))
  const renewable = chosen.filter(({ kind, has_key }) => kind === 'managed' && has_key)
  const renew = async () => {
    let done = 0
    let failed = 0
    for (let start = 0; start < renewable.length; start += bulkAtOnce) {
      const results = await Promise.allSettled(
        renewable.slice(start, start + bulkAtOnce).map(({ _id }) => api('POST', `/certificates/${_id}/renew`)),
      )
      failed += results.filter(({ status }) => status === 'rejected').length
      done += results.length
      setState(`queued ${count(done)} of ${count(renewable.length)}${failed > 0 ? `, ${failed} refused` : ''}`)
    }
    await queries.invalidateQueries()
    if (failed === 0) clear()
  }
  return (
    <Group gap="xs">
      <Text size="sm" className="figures" aria-live="polite">
        {state || `${count(selected.size)} selected`}
      </Text>
      <Button size="xs" disabled={renewable.length === 0} onClick={renew}>
        Renew {count(renewable.length)}
      </Button>
      <Button size="xs" variant="default" onClick={() => exportCsv(chosen)}>
        Export CSV
      </Button>
      <Button size="xs" variant="subtle" onClick={clear}>
        Clear
      </Button>
    </Group>
  )
}

function exportCsv(items: Certificate[]): void {
  const columns = ['name', 'state', 'kind', 'issuer', 'not_before', 'not_after', 'serial', 'fingerprint'] as const
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
