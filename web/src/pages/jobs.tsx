import { Button, Group, Select, Text } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link, useSearchParams } from 'wouter'
import { get } from '../api.ts'
import { JobState } from '../parts/job-steps.tsx'
import { MoreButton } from '../parts/more-button.tsx'
import { PageHead } from '../parts/page.tsx'
import { Empty, Failure, Waiting } from '../parts/states.tsx'
import { When } from '../parts/time.tsx'
import type { Job, Page } from '../types.ts'

export function JobsPage() {
  const [parameters, setParameters] = useSearchParams()
  const state = parameters.get('state')
  const subject = parameters.get('subject')
  const list = useInfiniteQuery({
    queryKey: ['jobs', 'list', state, subject],
    queryFn: ({ pageParam }) =>
      get<Page<Job>>(
        `/jobs?limit=100${state ? `&state=${state}` : ''}${subject ? `&subject=${encodeURIComponent(subject)}` : ''}${pageParam ? `&cursor=${encodeURIComponent(pageParam)}` : ''}`,
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: 2_000,
  })
  const items = list.data?.pages.flatMap((page) => page.items) ?? []
  return (
    <>
      <PageHead title="Jobs" />
      <Group mb="sm">
        <Select
          w={180}
          aria-label="state"
          placeholder="Any state"
          clearable
          data={[
            { value: 'queued', label: 'waiting' },
            { value: 'running', label: 'running' },
            { value: 'succeeded', label: 'done' },
            { value: 'dead', label: 'failed' },
          ]}
          value={state}
          onChange={(value) =>
            setParameters({ ...(value ? { state: value } : {}), ...(subject ? { subject } : {}) }, { replace: true })
          }
        />
        {subject && (
          <Button variant="default" size="sm" onClick={() => setParameters(state ? { state } : {}, { replace: true })}>
            Of {subject} only: show all
          </Button>
        )}
      </Group>
      {list.isError && <Failure error={list.error} retry={list.refetch} />}
      {list.isPending && <Waiting rows={8} />}
      {list.isSuccess && items.length === 0 && (
        <div className="card">
          <Empty
            title="No job"
            text="Whatever takes a while or may have to be tried again is a job: issuing, renewing, backups, drills."
            command="certautopilot job list"
          />
        </div>
      )}
      {items.length > 0 && (
        <div className="card" role="table" aria-label="jobs">
          {items.map((job) => (
            <div key={job._id} className="row jobs" data-link role="row" style={{ minHeight: 44 }}>
              <span role="cell" className="cut">
                <Link href={`/jobs/${job._id}`}>{job.kind}</Link>
              </span>
              <Text role="cell" size="sm" className="cut" c={job.error ? 'var(--state-failing)' : 'var(--state-unknown)'}>
                {job.error || job.steps.at(-1)?.text}
              </Text>
              <span role="cell">
                <JobState job={job} />
              </span>
              <span role="cell">
                <When at={job.created_at} />
              </span>
            </div>
          ))}
        </div>
      )}
      <MoreButton list={list} />
    </>
  )
}
