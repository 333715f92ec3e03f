import { SimpleGrid, Stack, Text, Tooltip } from '@mantine/core'
import type { ReactNode } from 'react'
import type { Recoverability } from '../types.ts'
import { ago, moment, plural, seconds } from '../words.ts'
import { Card } from './page.tsx'
import { State, type StateKind } from './states.tsx'

const dayMs = 86_400_000

/** Could all of this be restored? Each answer has a rule, which its tooltip states. */
export function RecoverabilityBand({ data }: { data: Recoverability }) {
  const drill = data.last_drill
  return (
    <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} spacing="sm">
      <Cell
        name="Restorable to"
        rule="good: a verified bundle younger than 26 hours; soon: younger than 7 days"
        kind={byAge(data.restorable_to, 26 / 24, 7)}
        word={data.restorable_to === null ? 'nothing yet' : ago(data.restorable_to)}
      >
        {data.restorable_to === null ? 'No backup was taken' : moment(data.restorable_to)}
      </Cell>
      <Cell
        name="Proven by"
        rule={`good: a drill passed in the last ${data.drill_interval_days} days`}
        kind={
          drill === null
            ? 'failing'
            : drill.outcome === 'passed'
              ? byAge(drill.at, data.drill_interval_days, data.drill_interval_days * 2)
              : 'failing'
        }
        word={drill === null ? 'never drilled' : `${drill.outcome} ${ago(drill.at)}`}
      >
        {drill === null ? 'No drill was run' : `Recovery in ${seconds(drill.recovery_ms)}`}
      </Cell>
      <Cell
        name="Key"
        rule="good: the recovery kit opened a bundle in the last year"
        kind={data.is_recovery_proven ? 'ok' : 'soon'}
        word={data.is_recovery_proven && data.recovery_proven_at !== null ? `proven ${ago(data.recovery_proven_at)}` : 'unproven'}
      >
        {data.is_recovery_proven ? 'Recovery kit opens bundles' : 'Test the recovery kit'}
      </Cell>
      <Cell
        name="Copies"
        rule="good: every target off this host holds the newest bundle"
        kind={copiesKind(data)}
        word={copiesWord(data)}
      >
        {plural(data.copies, 'good bundle')}
      </Cell>
    </SimpleGrid>
  )
}

function copiesKind({ copies, damaged, targets, targets_current }: Recoverability): StateKind {
  if (damaged > 0 || copies === 0) return 'failing'
  return targets > 0 && targets_current === targets ? 'ok' : 'soon'
}

function copiesWord({ damaged, targets, targets_current }: Recoverability): string {
  if (damaged > 0) return `${damaged} damaged`
  return targets === 0 ? 'on this host only' : `newest at ${targets_current} of ${plural(targets, 'target')}`
}

function Cell({
  name,
  rule,
  kind,
  word,
  children,
}: {
  name: string
  rule: string
  kind: StateKind
  word: string
  children: ReactNode
}) {
  return (
    <Card>
      <Stack gap={4} align="flex-start">
        <Text size="sm" c="var(--state-unknown)">
          {name}
        </Text>
        <Text fw={600} size="lg" className="figures">
          {children}
        </Text>
        <Tooltip label={rule} multiline maw={260} events={{ hover: true, focus: true, touch: true }}>
          <button type="button" className="quiet" aria-label={`${name}: ${word}. ${rule}`}>
            <State kind={kind}>{word}</State>
          </button>
        </Tooltip>
      </Stack>
    </Card>
  )
}

function byAge(time: string | null, goodDays: number, soonDays: number): StateKind {
  if (time === null) return 'failing'
  const days = (Date.now() - Date.parse(time)) / dayMs
  if (days <= goodDays) return 'ok'
  return days <= soonDays ? 'soon' : 'failing'
}
