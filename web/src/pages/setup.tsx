import {
  Button,
  Center,
  Checkbox,
  Group,
  PasswordInput,
  SegmentedControl,
  Stack,
  Stepper,
  Text,
  TextInput,
  Title,
} from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api } from '../api.ts'
import { AccountFields, useNewAccount } from '../parts/account-form.tsx'
import { type Kit, KitShown } from '../parts/kit.tsx'
import { Notice } from '../parts/notice.tsx'
import { Card } from '../parts/page.tsx'
import { Failure } from '../parts/states.tsx'
import type { User } from '../types.ts'

/** The first run: who owns this, how it is recovered, who signs. What comes after the owner can be skipped and done later. */
export function SetupPage() {
  const queries = useQueryClient()
  const [step, setStep] = useState(0)
  const isNarrow = useMediaQuery('(max-width: 48em)', window.innerWidth < 768, { getInitialValueInEffect: false })
  const [form, setForm] = useState({ token: '', email: '', password: '' })
  const [kit, setKit] = useState<Kit>()
  const [isKept, setKept] = useState(false)
  const [ca, setCa] = useState('Internal')
  const [issuer, setIssuer] = useState('own')
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change })
  const finish = () => queries.invalidateQueries()
  const own = useMutation({
    mutationFn: async () => {
      const found = await api<Kit>('POST', '/setup/recovery-kit', { token: form.token.trim() }).catch((error) => {
        if (error.code === 'not-found') return undefined
        throw error
      })
      await api('POST', '/setup', { ...form, token: form.token.trim() })
      await api<User>('POST', '/auth/login', { email: form.email, password: form.password })
      await api('POST', '/projects', { name: 'default' }).catch(() => {})
      return found
    },
    onSuccess: (found) => {
      setKit(found)
      setStep(1)
    },
  })
  const sign = useMutation({ mutationFn: () => api('POST', '/cas', { name: ca }), onSuccess: finish })
  const account = useNewAccount('default', finish)
  return (
    <Center mih="90vh" p="md">
      <main style={{ width: 720, maxWidth: '100%' }}>
        <Title order={1} size="h3" mb="md" className="no-print">
          Set up CertAutopilot
        </Title>
        <Card p={24}>
          <Stepper active={step} orientation={isNarrow ? 'vertical' : 'horizontal'} size="sm" allowNextStepsSelect={false}>
            <Stepper.Step label="Owner">
              <form
                onSubmit={(event) => {
                  event.preventDefault()
                  own.mutate()
                }}
              >
                <Stack mt="md" maw={480}>
                  <TextInput
                    label="Setup token"
                    description="proves that you are on the host: the content of run/setup-token in its home folder"
                    required
                    autoFocus
                    autoComplete="off"
                    value={form.token}
                    onChange={(event) => set({ token: event.currentTarget.value })}
                  />
                  <TextInput
                    label="E-mail"
                    type="email"
                    autoComplete="username"
                    required
                    value={form.email}
                    onChange={(event) => set({ email: event.currentTarget.value })}
                  />
                  <PasswordInput
                    label="Password"
                    autoComplete="new-password"
                    required
                    value={form.password}
                    onChange={(event) => set({ password: event.currentTarget.value })}
                  />
                  {own.isError && <Failure error={own.error} />}
                  <Group>
                    <Button type="submit" loading={own.isPending}>
                      Become the owner
                    </Button>
                  </Group>
                </Stack>
              </form>
            </Stepper.Step>
            <Stepper.Step label="Recovery kit">
              <Stack mt="md">
                {kit ? (
                  <KitShown kit={kit} />
                ) : (
                  <Text>The recovery kit was taken off this host already. Keep it where you find it at night.</Text>
                )}
                <Notice kind="soon" title="Two things belong off this host">
                  The recovery kit, and copies of the bundles. This host alone is one fire.
                </Notice>
                <Checkbox
                  className="no-print"
                  label="The kit is printed or saved, somewhere else than here"
                  checked={isKept}
                  onChange={(event) => setKept(event.currentTarget.checked)}
                />
                <Group className="no-print">
                  <Button onClick={() => setStep(2)}>{isKept ? 'Next' : 'Later, remind me'}</Button>
                </Group>
              </Stack>
            </Stepper.Step>
            <Stepper.Step label="First issuer">
              <Stack mt="md" maw={480}>
                <SegmentedControl
                  aria-label="kind of issuer"
                  data={[
                    { value: 'own', label: 'A CA of your own' },
                    { value: 'acme', label: 'An ACME CA' },
                  ]}
                  value={issuer}
                  onChange={setIssuer}
                />
                {issuer === 'own' ? (
                  <>
                    <Text>Signs at once, for names that only you use. Clients must trust its root.</Text>
                    <TextInput label="Name of the CA" value={ca} onChange={(event) => setCa(event.currentTarget.value)} />
                    {sign.isError && <Failure error={sign.error} />}
                  </>
                ) : (
                  <>
                    <Text>Publicly trusted certificates. A staging CA is for trying it out.</Text>
                    <AccountFields {...account} />
                    {account.create.isError && <Failure error={account.create.error} />}
                  </>
                )}
                <Group>
                  <Button
                    loading={sign.isPending || account.create.isPending}
                    onClick={() => (issuer === 'own' ? sign.mutate() : account.create.mutate())}
                  >
                    {issuer === 'own' ? 'Make the CA and finish' : 'Make the account and finish'}
                  </Button>
                  <Button variant="default" onClick={finish}>
                    Skip
                  </Button>
                </Group>
              </Stack>
            </Stepper.Step>
          </Stepper>
        </Card>
      </main>
    </Center>
  )
}
