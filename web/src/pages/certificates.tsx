import { Button, Group, Select, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useEffect, useMemo, useState } from 'react'
import { Link, useSearchParams } from 'wouter'
import { get } from '../api.ts'
import { Bulk } from '../parts/bulk.tsx'
import { Rows } from '../parts/certificate-rows.tsx'
import { ExpiryStrip } from '../parts/expiry-strip.tsx'
import { Icon } from '../parts/icons.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Empty, Failure, Waiting } from '../parts/states.tsx'
import type { Certificate, Page, Project } from '../types.ts'
import { plural } from '../words.ts'

const filters = ['search', 'project', 'state', 'kind', 'sort'] as const
const pageSize = 100

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
  const projects = useQuery({ queryKey: ['projects'], queryFn: () => get<Page<Project>>('/projects?limit=500') })
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
        placeholder="Name, issuer, serial, fingerprint or #tag"
        aria-label="filter certificates"
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {(projects.data?.items.length ?? 0) > 1 && (
        <Select
          w={150}
          aria-label="project"
          placeholder="Any project"
          clearable
          data={(projects.data?.items ?? []).map(({ name }) => name)}
          value={parameters.get('project')}
          onChange={(value) => set('project', value)}
        />
      )}
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
