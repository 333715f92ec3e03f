import { Button, Code, Skeleton, Stack, Text, Title } from '@mantine/core'
import { type ReactNode, useEffect, useState } from 'react'
import { Problem } from '../api.ts'
import { Notice } from './notice.tsx'

export type StateKind = 'ok' | 'soon' | 'failing' | 'unknown'

const shapes: Record<StateKind, string> = { ok: '●', soon: '▲', failing: '■', unknown: '○' }

/** A state as a shape, a word and a colour: none of them alone. */
export function State({ kind, children }: { kind: StateKind; children: ReactNode }) {
  return (
    <span className="state" data-state={kind}>
      <span aria-hidden="true">{shapes[kind]}</span>
      {children}
    </span>
  )
}

/** The shape of what will come, after a moment: what is fast does not flicker. */
export function Waiting({ rows }: { rows: number }) {
  const [isShown, show] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => show(true), 200)
    return () => clearTimeout(timer)
  }, [])
  if (!isShown) return null
  return (
    <Stack gap="xs" p="md" aria-busy="true" aria-label="loading">
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the rows are all the same
        <Skeleton key={row} height={36} radius="sm" />
      ))}
    </Stack>
  )
}

/** What failed and what to do next. */
export function Failure({ error, retry }: { error: Error; retry?: () => unknown }) {
  const hint = error instanceof Problem ? error.hint : 'is the service running, and is this machine connected?'
  return (
    <Notice
      kind="failing"
      role="alert"
      title={sentence(error.message)}
      action={
        retry && (
          <Button size="xs" variant="default" onClick={() => retry()}>
            Try again
          </Button>
        )
      }
    >
      {hint ? sentence(hint) : ''}
    </Notice>
  )
}

/** What a list is for, one thing to do, and the same as a command. */
export function Empty({ title, text, action, command }: { title: string; text: string; action?: ReactNode; command?: string }) {
  return (
    <Stack align="center" gap="sm" py={48} px="md" ta="center">
      <Title order={2} size="h4">
        {title}
      </Title>
      <Text c="dimmed" maw={480}>
        {text}
      </Text>
      {action}
      {command && <Code>{command}</Code>}
    </Stack>
  )
}

export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
