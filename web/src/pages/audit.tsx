import { Button, Group, Text } from '@mantine/core'
import { useInfiniteQuery, useMutation } from '@tanstack/react-query'
import { api, get } from '../api.ts'
import { MoreButton } from '../parts/more-button.tsx'
import { PageHead } from '../parts/page.tsx'
import { Empty, Failure, State, Waiting } from '../parts/states.tsx'
import { When } from '../parts/time.tsx'
import type { AuditEntry, Page } from '../types.ts'
import { count } from '../words.ts'

export function AuditPage() {
  const list = useInfiniteQuery({
    queryKey: ['audit'],
    queryFn: ({ pageParam }) =>
      get<Page<AuditEntry>>(`/audit-logs?limit=100${pageParam ? `&cursor=${encodeURIComponent(pageParam)}` : ''}`),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  })
  const verify = useMutation({ mutationFn: () => api<{ checked: number; unlinked: number }>('POST', '/audit-logs/verify') })
  const items = list.data?.pages.flatMap((page) => page.items) ?? []
  return (
    <>
      <PageHead
        title="Audit"
        action={
          <Group gap="sm">
            {verify.data && <State kind="ok">{count(verify.data.checked)} links hold</State>}
            <Button variant="default" loading={verify.isPending} onClick={() => verify.mutate()}>
              Verify the chain
            </Button>
          </Group>
        }
      />
      {verify.isError && <Failure error={verify.error} />}
      {list.isError && <Failure error={list.error} retry={list.refetch} />}
      {list.isPending && <Waiting rows={8} />}
      {list.isSuccess && items.length === 0 && (
        <div className="card">
          <Empty
            title="Nothing yet"
            text="Every change is written down here, in a chain that shows when an entry was changed or removed."
            command="certautopilot audit verify"
          />
        </div>
      )}
      {items.length > 0 && (
        <div className="card" role="table" aria-label="audit entries">
          {items.map((entry) => (
            <div key={entry._id} className="row entries" role="row" style={{ minHeight: 40 }}>
              <Text role="cell" size="sm" className="cut">
                {entry.event}
              </Text>
              <span role="cell">
                <When at={entry.at} />
              </span>
              <Text role="cell" size="sm" className="cut">
                {entry.actor.name}
              </Text>
              <Text role="cell" size="sm" className="cut" c="var(--state-unknown)" title={JSON.stringify(entry.data)}>
                {String(entry.data.name ?? entry.subject)}
              </Text>
            </div>
          ))}
        </div>
      )}
      <MoreButton list={list} />
    </>
  )
}
