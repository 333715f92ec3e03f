import { Anchor, Group, Stack, Text, Title } from '@mantine/core'
import { Link } from 'wouter'
import type { Overview } from '../types.ts'
import { Card } from './page.tsx'
import { State } from './states.tsx'

/** What a first day has left open; gone when nothing is. */
export function SetupList({ certificates, recoverability, setup }: Overview) {
  const steps: [isDone: boolean, what: string, href: string, why: string][] = [
    [setup.issuers > 0, 'Add an issuer', '/issuers', 'a CA of your own, or an account at an ACME CA'],
    [certificates.total > 0, 'Issue or import a certificate', '/certificates/new', 'what is issued here renews itself'],
    [setup.channels > 0, 'Say who is told when something fails', '/notify', 'by mail or webhook'],
    [recoverability.restorable_to !== null, 'Take the first backup', '/backups', 'database and keys, as one thing'],
    [recoverability.last_drill?.outcome === 'passed', 'Run a restore drill', '/backups', 'a backup is proven when it was restored'],
    [!setup.is_kit_here, 'Take the recovery kit off this host', '/recovery-kit', 'a fire here must not burn it too'],
  ]
  const done = steps.filter(([isDone]) => isDone).length
  if (done === steps.length) return null
  return (
    <Card>
      <Group justify="space-between" mb="sm">
        <Title order={3} size="h5">
          First day
        </Title>
        <Text size="sm" className="figures" c="var(--state-unknown)">
          {done} of {steps.length} done
        </Text>
      </Group>
      <Stack gap="xs">
        {steps.map(([isDone, what, href, why]) => (
          <Group key={what} gap="sm" wrap="nowrap" align="baseline">
            <State kind={isDone ? 'ok' : 'soon'}>{isDone ? 'done' : 'open'}</State>
            <div>
              {isDone ? (
                <Text span>{what}</Text>
              ) : (
                <Anchor component={Link} href={href}>
                  {what}
                </Anchor>
              )}
              <Text size="sm" c="var(--state-unknown)">
                {why}
              </Text>
            </div>
          </Group>
        ))}
      </Stack>
    </Card>
  )
}
