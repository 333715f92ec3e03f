import { Anchor, Button, Code, Group, SegmentedControl, Select, Stack, Stepper, TagsInput, Text } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import { api, get } from '../api.ts'
import { JobSteps, useJob } from '../parts/job-steps.tsx'
import { Notice } from '../parts/notice.tsx'
import { Card, PageHead } from '../parts/page.tsx'
import { Preflight } from '../parts/preflight.tsx'
import { Empty, Failure, Waiting } from '../parts/states.tsx'
import type { AcmeAccount, Authority, Certificate, DnsCredential, Page, Project } from '../types.ts'

type Issued = Certificate & { job_id: string | null }

/** One question per step; what will happen is shown before it happens. */
export function IssuePage() {
  const cas = useQuery({ queryKey: ['cas'], queryFn: () => get<Page<Authority>>('/cas?limit=500') })
  const accounts = useQuery({ queryKey: ['acme-accounts'], queryFn: () => get<Page<AcmeAccount>>('/acme-accounts?limit=500') })
  const zones = useQuery({ queryKey: ['dns-credentials'], queryFn: () => get<Page<DnsCredential>>('/dns-credentials?limit=500') })
  const projects = useQuery({ queryKey: ['projects'], queryFn: () => get<Page<Project>>('/projects?limit=500') })
  const [step, setStep] = useState(0)
  const [source, setSource] = useState<string | null>(null)
  const [names, setNames] = useState<string[]>([])
  const [keyType, setKeyType] = useState('ec-p256')
  const [project, setProject] = useState<string | null>(null)
  const [zone, setZone] = useState<string | null>(null)
  const issue = useMutation({
    mutationFn: (body: object) => api<Issued>('POST', '/certificates', body),
    onSuccess: () => setStep(3),
  })
  const isNarrow = useMediaQuery('(max-width: 48em)', window.innerWidth < 768, { getInitialValueInEffect: false })
  const job = useJob(issue.data?.job_id ?? undefined)

  const failed = [cas, accounts, zones, projects].find((query) => query.isError)
  if (failed?.error) return <Failure error={failed.error} retry={failed.refetch} />
  if (!cas.data || !accounts.data || !zones.data || !projects.data) return <Waiting rows={4} />
  const sources = [
    ...cas.data.items.map(({ _id, name }) => ({ value: `ca ${_id}`, label: `${name} (internal CA)` })),
    ...accounts.data.items.map(({ _id, name, directory_url, is_staging }) => ({
      value: `acme ${_id}`,
      label: `${name} (${new URL(directory_url).host}${is_staging ? ', staging' : ''})`,
    })),
  ]
  const chosenSource = source ?? sources[0]?.value ?? null
  const chosenProject = project ?? projects.data.items[0]?.name ?? 'default'
  const isAcme = chosenSource?.startsWith('acme ') ?? false
  const hasWildcard = names.some((name) => name.startsWith('*.'))
  const needsZone = isAcme && hasWildcard && zone === null
  const id = chosenSource?.split(' ')[1]
  const body = {
    project: chosenProject,
    names,
    key_type: keyType,
    ...(isAcme ? { acme: { account: id, ...(zone === null ? {} : { dns_credential: zone }) } } : { ca: id }),
  }
  if (sources.length === 0)
    return (
      <>
        <PageHead title="Issue a certificate" />
        <Card>
          <Empty
            title="There is nobody who could sign"
            text="Make a CA of your own, or an account at an ACME CA."
            action={
              <Button component={Link} href="/issuers">
                Issuers
              </Button>
            }
            command="certautopilot ca create Internal"
          />
        </Card>
      </>
    )
  return (
    <>
      <PageHead title="Issue a certificate" />
      <Card p={24}>
        <Stepper
          active={step}
          orientation={isNarrow ? 'vertical' : 'horizontal'}
          onStepClick={setStep}
          allowNextStepsSelect={false}
          size="sm"
        >
          <Stepper.Step label="Who signs">
            <Stack maw={560} mt="md">
              <Select label="Issuer" data={sources} value={chosenSource} onChange={setSource} allowDeselect={false} />
              <Select
                label="Project"
                data={projects.data.items.map(({ name }) => name)}
                value={chosenProject}
                onChange={setProject}
                allowDeselect={false}
              />
              <Group>
                <Button onClick={() => setStep(1)}>Next</Button>
              </Group>
            </Stack>
          </Stepper.Step>
          <Stepper.Step label="Names and key">
            <Stack maw={560} mt="md">
              <TagsInput
                label="Names"
                description="The first is the common name. Enter or comma ends a name."
                placeholder={names.length === 0 ? 'www.example.org' : ''}
                value={names}
                onChange={(values) => setNames(values.map((value) => value.trim().toLowerCase()))}
                splitChars={[',', ' ']}
                acceptValueOnBlur
                data-autofocus
              />
              <div>
                <Text size="sm" fw={500} mb={4} id="key-type">
                  Key
                </Text>
                <SegmentedControl
                  aria-labelledby="key-type"
                  value={keyType}
                  onChange={setKeyType}
                  data={[
                    { value: 'ec-p256', label: 'P-256' },
                    { value: 'ec-p384', label: 'P-384' },
                    { value: 'rsa-2048', label: 'RSA 2048' },
                    { value: 'rsa-4096', label: 'RSA 4096' },
                  ]}
                />
              </div>
              {isAcme && (
                <Select
                  label="How the names are proven"
                  data={[
                    { value: '', label: 'HTTP-01: port 80 of the names reaches this service' },
                    ...zones.data.items.map((item) => ({
                      value: item._id,
                      label: `DNS-01 with "${item.name}" (${item.provider})`,
                    })),
                  ]}
                  value={zone ?? ''}
                  onChange={(value) => setZone(value === '' ? null : value)}
                  allowDeselect={false}
                />
              )}
              {needsZone && (
                <Notice kind="soon" title="DNS-01 is needed">
                  A wildcard can only be proven by DNS-01: choose a DNS credential, or{' '}
                  <Anchor component={Link} href="/issuers">
                    make one
                  </Anchor>
                  .
                </Notice>
              )}
              <Group>
                <Button variant="default" onClick={() => setStep(0)}>
                  Back
                </Button>
                <Button disabled={names.length === 0 || needsZone} onClick={() => setStep(2)}>
                  Next
                </Button>
              </Group>
            </Stack>
          </Stepper.Step>
          <Stepper.Step label="Check">
            <Stack maw={560} mt="md">
              <Text>
                {sources.find(({ value }) => value === chosenSource)?.label} will be asked for <b>{names.join(', ')}</b>, with a new{' '}
                {keyType} key that is sealed here.{' '}
                {isAcme ? 'A job proves the names and fetches it; you see its steps.' : 'It is issued at once.'} It is renewed by
                itself.
              </Text>
              <Preflight body={body} />
              <Code block style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
                {`certautopilot cert issue ${names.join(' ')}${isAcme ? ` --acme ${id}` : ` --ca ${id}`}${zone === null ? '' : ` --dns ${zone}`} --key-type ${keyType}`}
              </Code>
              {issue.isError && <Failure error={issue.error} />}
              <Group>
                <Button variant="default" onClick={() => setStep(1)}>
                  Back
                </Button>
                <Button loading={issue.isPending} onClick={() => issue.mutate(body)}>
                  Issue
                </Button>
              </Group>
            </Stack>
          </Stepper.Step>
          <Stepper.Completed>
            <Stack mt="md">
              {job && <JobSteps job={job} />}
              {issue.data?.job_id === null && <Text>“{issue.data.name}” is issued.</Text>}
              <Group>
                <Button component={Link} href={`/certificates/${issue.data?._id}`}>
                  Show the certificate
                </Button>
              </Group>
            </Stack>
          </Stepper.Completed>
        </Stepper>
      </Card>
    </>
  )
}
