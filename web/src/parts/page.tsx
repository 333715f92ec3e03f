import { Group, Title } from '@mantine/core'
import { type ReactNode, useEffect } from 'react'

/** The head of a page: what it is, and at most one thing to do. */
export function PageHead({ title, action }: { title: string; action?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · CertAutopilot`
  }, [title])
  return (
    <Group justify="space-between" mb="md" mih={36}>
      <Title order={1} size="h3">
        {title}
      </Title>
      {action}
    </Group>
  )
}

export function Card({ children, p = 16 }: { children: ReactNode; p?: number }) {
  return (
    <section className="card" style={{ padding: p }}>
      {children}
    </section>
  )
}
