import { Button, Code, Group, Stack, Text } from '@mantine/core'
import { useMemo } from 'react'
import { renderSVG } from 'uqr'

export interface Kit {
  kit: string
  path: string
}

/** The recovery kit to print or save. */
export function KitShown({ kit }: { kit: Kit }) {
  const identity = kit.kit.match(/AGE-SECRET-KEY-\S+/)?.[0] ?? ''
  const picture = useMemo(() => `data:image/svg+xml,${encodeURIComponent(renderSVG(identity))}`, [identity])
  return (
    <Stack>
      <Group align="flex-start" wrap="wrap">
        <img
          src={picture}
          width={180}
          height={180}
          alt="QR code of the recovery identity"
          style={{ background: '#fff', borderRadius: 8 }}
        />
        <Code block style={{ flex: 1, minWidth: 260 }}>
          <pre className="kit">{kit.kit}</pre>
        </Code>
      </Group>
      <Group className="no-print">
        <Button variant="default" onClick={() => window.print()}>
          Print
        </Button>
        <Button
          variant="default"
          component="a"
          href={`data:text/plain,${encodeURIComponent(kit.kit)}`}
          download="certautopilot-recovery-kit.txt"
        >
          Save
        </Button>
        <Text size="sm" c="var(--state-unknown)">
          Then remove {kit.path}
        </Text>
      </Group>
    </Stack>
  )
}
