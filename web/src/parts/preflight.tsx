import { Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { api } from '../api.ts'
import { Failure, State, type StateKind, Waiting } from './states.tsx'

interface Check {
  state: 'ok' | 'warning' | 'failing'
  text: string
}

const shown: Record<Check['state'], { kind: StateKind; word: string }> = {
  ok: { kind: 'ok', word: 'good' },
  warning: { kind: 'soon', word: 'look' },
  failing: { kind: 'failing', word: 'will fail' },
}

/** What would go wrong, before anything is asked for. */
export function Preflight({ body }: { body: { project: string; names: string[]; acme?: object } }) {
  const { project, names, acme } = body
  const asked = { project, names, ...(acme === undefined ? {} : { acme }) }
  const checks = useQuery({
    queryKey: ['preflight', asked],
    queryFn: () => api<{ checks: Check[] }>('POST', '/certificates/preflight', asked),
  })
  if (checks.isError) return <Failure error={checks.error} retry={checks.refetch} />
  if (checks.data === undefined) return <Waiting rows={2} />
  return (
    <Stack gap={6} component="ul" style={{ listStyle: 'none', margin: 0, padding: 0 }} aria-label="checks">
      {checks.data.checks.map(({ state, text }) => (
        <li key={text} style={{ display: 'flex', gap: 8, alignItems: 'baseline' }}>
          <State kind={shown[state].kind}>{shown[state].word}</State>
          <Text size="sm" span>
            {text}
          </Text>
        </li>
      ))}
    </Stack>
  )
}
