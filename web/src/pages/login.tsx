import { Button, Center, PasswordInput, Stack, TextInput, Title } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api } from '../api.ts'
import { Card } from '../parts/page.tsx'
import { Failure } from '../parts/states.tsx'
import type { User } from '../types.ts'

export function LoginPage() {
  const queries = useQueryClient()
  const [email, setEmail] = useState('')
  const [password, setPassword] = useState('')
  const logIn = useMutation({
    mutationFn: () => api<User>('POST', '/auth/login', { email, password }),
    onSuccess: (user) => queries.setQueryData(['me'], user),
  })
  return (
    <Center mih="80vh" p="md">
      <main style={{ width: 360, maxWidth: '100%' }}>
        <Card p={24}>
          <form
            onSubmit={(event) => {
              event.preventDefault()
              logIn.mutate()
            }}
          >
            <Stack>
              <Title order={1} size="h3">
                CertAutopilot
              </Title>
              <TextInput
                label="E-mail"
                type="email"
                autoComplete="username"
                required
                autoFocus
                value={email}
                onChange={(event) => setEmail(event.currentTarget.value)}
              />
              <PasswordInput
                label="Password"
                autoComplete="current-password"
                required
                value={password}
                onChange={(event) => setPassword(event.currentTarget.value)}
              />
              {logIn.isError && <Failure error={logIn.error} />}
              <Button type="submit" loading={logIn.isPending}>
                Log in
              </Button>
            </Stack>
          </form>
        </Card>
      </main>
    </Center>
  )
}
