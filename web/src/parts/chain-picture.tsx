import { Group, Stack, Text } from '@mantine/core'
import type { Certificate } from '../types.ts'
import { clock, daysLeft, plural } from '../words.ts'
import { Card } from './page.tsx'

interface Link {
  name: string
  not_before: string
  not_after: string
}

/** The certificate and who vouches for it, as boxes whose lives lie on one axis of time. */
export function ChainPicture({ certificate }: { certificate: Certificate }) {
  if (certificate.state === 'requested') return <Text>It is not issued yet.</Text>
  const links: Link[] = [certificate, ...(certificate.chain ?? [])]
  const start = Math.min(...links.map(({ not_before }) => Date.parse(not_before)))
  const end = Math.max(...links.map(({ not_after }) => Date.parse(not_after)))
  const share = (time: number) => ((time - start) / (end - start)) * 100
  const last = certificate.chain?.at(-1)?.issuer ?? certificate.issuer
  return (
    <Stack gap={4}>
      {links.map((link) => (
        <div key={`${link.name} ${link.not_after}`}>
          <Card>
            <Group justify="space-between" wrap="nowrap">
              <Text fw={600} className="cut">
                {link.name}
              </Text>
              <Text size="sm" className="figures" style={{ whiteSpace: 'nowrap' }} title={clock(link.not_after)}>
                {daysLeft(link.not_after) < 0 ? 'expired' : `${plural(daysLeft(link.not_after), 'day')} left`}
              </Text>
            </Group>
            <div className="life" style={{ marginTop: 8 }} aria-hidden="true">
              <span
                style={{ left: `${share(Date.parse(link.not_before))}%`, right: `${100 - share(Date.parse(link.not_after))}%` }}
              />
              <i style={{ left: `${share(Date.now())}%` }} />
            </div>
          </Card>
          <Text ta="center" c="var(--state-unknown)" size="sm" aria-hidden="true">
            ↑ signed by
          </Text>
        </div>
      ))}
      <Card>
        <Text fw={600}>{last}</Text>
        <Text size="sm" c="var(--state-unknown)">
          trusted by its own name; not kept with the certificate
        </Text>
      </Card>
    </Stack>
  )
}
