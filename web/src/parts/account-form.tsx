import { Checkbox, PasswordInput, Select, Textarea, TextInput } from '@mantine/core'
import { useState } from 'react'
import { api } from '../api.ts'
import { useChange } from '../change.ts'

const cas = [
  { value: 'letsencrypt-staging', label: "Let's Encrypt, staging" },
  { value: 'letsencrypt', label: "Let's Encrypt" },
  { value: 'google', label: 'Google Trust Services' },
  { value: 'google-staging', label: 'Google Trust Services, staging' },
  { value: 'zerossl', label: 'ZeroSSL' },
  { value: '', label: 'Another: by URL' },
]

/** What a new ACME account needs, and its making. */
export function useNewAccount(project: string, done: () => void) {
  const [form, setForm] = useState({
    name: '',
    ca: 'letsencrypt-staging',
    url: '',
    anchors: '',
    email: '',
    keyId: '',
    hmac: '',
    agrees: false,
  })
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change })
  const create = useChange(
    () =>
      api('POST', '/acme-accounts', {
        project,
        name: form.name,
        ca: form.ca || form.url,
        email: form.email,
        agrees_to_terms: form.agrees,
        ...(form.anchors === '' ? {} : { trust_anchors_pem: form.anchors }),
        ...(form.keyId === '' ? {} : { eab: { key_id: form.keyId, hmac_key: form.hmac } }),
      }),
    done,
  )
  return { form, set, create }
}

export function AccountFields({ form, set }: Pick<ReturnType<typeof useNewAccount>, 'form' | 'set'>) {
  const wantsEab = form.ca !== 'letsencrypt' && form.ca !== 'letsencrypt-staging'
  return (
    <>
      <TextInput
        label="Name"
        required
        value={form.name}
        onChange={(event) => set({ name: event.currentTarget.value })}
        data-autofocus
      />
      <Select label="CA" data={cas} value={form.ca} allowDeselect={false} onChange={(value) => set({ ca: value ?? '' })} />
      {form.ca === '' && (
        <>
          <TextInput
            label="Directory URL"
            required
            value={form.url}
            onChange={(event) => set({ url: event.currentTarget.value })}
          />
          <Textarea
            label="CAs that are trusted when it is asked (PEM)"
            description="the public ones if empty"
            rows={3}
            value={form.anchors}
            onChange={(event) => set({ anchors: event.currentTarget.value })}
          />
        </>
      )}
      <TextInput
        label="E-mail"
        description="where the CA may write to"
        type="email"
        value={form.email}
        onChange={(event) => set({ email: event.currentTarget.value })}
      />
      {wantsEab && (
        <>
          <TextInput
            label="External account: key id"
            description="if the CA wants one"
            value={form.keyId}
            onChange={(event) => set({ keyId: event.currentTarget.value })}
          />
          <PasswordInput
            label="External account: HMAC key"
            value={form.hmac}
            onChange={(event) => set({ hmac: event.currentTarget.value })}
          />
        </>
      )}
      <Checkbox
        label="I have read the terms of the CA and agree"
        checked={form.agrees}
        onChange={(event) => set({ agrees: event.currentTarget.checked })}
      />
    </>
  )
}
