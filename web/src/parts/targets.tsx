import { Button, Group, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { api, get } from '../api.ts'
import { useChange } from '../change.ts'
import type { BackupTarget, TargetTest } from '../types.ts'
import { plural } from '../words.ts'
import { Empty, Failure, State } from './states.tsx'
import { When } from './time.tsx'

/** Where copies go. They are named in the configuration of the host: whoever gets into the browser must not send bundles elsewhere. */
export function Targets() {
  const targets = useQuery({ queryKey: ['targets'], queryFn: () => get<{ items: BackupTarget[] }>('/targets') })
  if (targets.isError) return <Failure error={targets.error} retry={targets.refetch} />
  return (
    <section>
      <Title order={2} size="h5" mb="xs">
        Copies off this host
      </Title>
      <div className="card">
        {targets.data?.items.length === 0 && (
          <Empty
            title="No target"
            text="This host alone is one fire. Name another disk, a bucket or an SSH server under backup.targets in config.yaml: copies are sealed to people only."
            command="certautopilot backup target list"
          />
        )}
        {targets.data?.items.map((target) => (
          <Line key={target.name} target={target} />
        ))}
      </div>
    </section>
  )
}

function Line({ target }: { target: BackupTarget }) {
  const test = useChange(() => api<TargetTest>('POST', `/targets/${target.name}/test`))
  return (
    <>
      <Group justify="space-between" p="sm" px="md" style={{ borderBottom: '1px solid var(--line)' }}>
        <div style={{ minWidth: 0 }}>
          <Text fw={500}>{target.name}</Text>
          <Text size="sm" c="var(--state-unknown)" style={{ overflowWrap: 'anywhere' }} component="div">
            {target.place}
            {target.newest_at !== null && (
              <>
                {' '}
                · newest copy <When at={target.newest_at} />
              </>
            )}
          </Text>
        </div>
        <Group gap="sm">
          {target.error !== '' && <State kind="failing">failing</State>}
          {target.error === '' && target.lacking === 0 && target.copies > 0 && (
            <State kind="ok">{plural(target.copies, 'bundle')}</State>
          )}
          {target.error === '' && target.lacking > 0 && <State kind="failing">lacks {plural(target.lacking, 'bundle')}</State>}
          <Button size="xs" variant="default" loading={test.isPending} onClick={() => test.mutate()}>
            Test
          </Button>
        </Group>
      </Group>
      {target.error !== '' && (
        <Text size="sm" px="md" py="xs" c="var(--state-failing)" component="div" style={{ overflowWrap: 'anywhere' }}>
          {target.error}
          {target.tried_at !== null && (
            <>
              {' '}
              (tried <When at={target.tried_at} />
              {target.whole_at !== null && (
                <>
                  , whole <When at={target.whole_at} />
                </>
              )}
              )
            </>
          )}
        </Text>
      )}
      {test.isError && <Failure error={test.error} />}
      {test.data && (
        <Text size="sm" px="md" pb="sm">
          Written, read and listed in {test.data.milliseconds} ms.{' '}
          {test.data.can_remove ? '' : 'This credential cannot remove what is there. '}
          {test.data.findings.join('. ')}
        </Text>
      )}
    </>
  )
}
