import { Anchor, SimpleGrid, Stack, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from 'wouter'
import { get } from '../api.ts'
import { ExpiryStrip } from '../parts/expiry-strip.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { RecoverabilityBand } from '../parts/recoverability.tsx'
import { SetupList } from '../parts/setup-list.tsx'
import { Empty, Failure, Waiting } from '../parts/states.tsx'
import type { Overview } from '../types.ts'
import { count, moment, plural } from '../words.ts'

export function OverviewPage() {
  const overview = useQuery({ queryKey: ['overview'], queryFn: () => get<Overview>('/overview'), refetchInterval: 30_000 })
  return (
    <>
      <PageHead title="Overview" />
      {overview.isError && <Failure error={overview.error} retry={overview.refetch} />}
      {overview.isPending && <Waiting rows={5} />}
      {overview.data && <Shown {...overview.data} />}
    </>
  )
}

function Shown(overview: Overview) {
  const { certificates, jobs, recoverability } = overview
  const needed = certificates.expired + certificates.failing
  return (
    <Stack gap="md">
      <Title order={2} size="h4" fw={500} className="figures">
        {plural(certificates.total, 'certificate')},{' '}
        {needed === 0 ? 'none needs you' : needed === 1 ? '1 needs you' : `${count(needed)} need you`}.{' '}
        {recoverability.restorable_to === null
          ? 'Nothing could be restored yet.'
          : `You could restore to ${moment(recoverability.restorable_to)}.`}
      </Title>
      <RecoverabilityBand data={recoverability} />
      <SetupList {...overview} />
      {certificates.total === 0 && (
        <Card>
          <Empty
            title="No certificate yet"
            text="Issue one from a CA of your own or from an ACME CA, or watch those that others have issued."
            action={
              <Anchor component={Link} href="/certificates/new">
                Issue the first certificate
              </Anchor>
            }
            command="certautopilot cert import /etc/ssl/certs"
          />
        </Card>
      )}
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="sm">
        <Figure name="Expiring within 30 days" value={certificates.expiring} href="/certificates?state=expiring" />
        <Figure name="Expired" value={certificates.expired} href="/certificates?state=expired" />
        <Figure name="Renewal failing" value={certificates.failing} href="/certificates?state=failing" />
        <Figure name="Jobs at work or waiting" value={jobs.running + jobs.queued} href="/jobs" />
      </SimpleGrid>
      {certificates.total > 0 && (
        <Card>
          <Text size="sm" mb="xs">
            Expiry in the next 90 days
          </Text>
          <ExpiryStrip />
        </Card>
      )}
    </Stack>
  )
}

function Figure({ name, value, href }: { name: string; value: number; href: string }) {
  return (
    <Card>
      <Text fw={650} size="xl" className="figures">
        {count(value)}
      </Text>
      <Anchor component={Link} href={href} size="sm">
        {name}
      </Anchor>
    </Card>
  )
}
