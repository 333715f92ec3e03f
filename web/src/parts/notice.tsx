import { Group, Stack, Text } from '@mantine/core'
import type { ReactNode } from 'react'
import type { StateKind } from './states.tsx'

/** Something a person has to know before the rest of a page. */
export function Notice({
  kind,
  title,
  children,
  action,
  role,
}: {
  kind: StateKind
  title: string
  children?: ReactNode
  action?: ReactNode
  role?: 'alert'
}) {
  return (
    <Group className="notice" data-state={kind} role={role} justify="space-between" gap="sm">
      <Stack gap={2} flex={1} miw={220}>
        <Text fw={600} size="sm">
          {title}
        </Text>
        {children && (
          <Text size="sm" component="div" c="var(--mantine-color-text)" style={{ overflowWrap: 'anywhere' }}>
            {children}
          </Text>
        )}
      </Stack>
      {action}
    </Group>
  )
}
