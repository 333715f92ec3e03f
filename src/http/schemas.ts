import { z } from 'zod'
import { roles } from '../access/roles.ts'
import { certificateStates } from '../certificates/list-certificates.ts'
import { targetKinds } from '../deploy/deploy.ts'
import { dnsProviders } from '../dns/dns.ts'
import { channelKinds, severities } from '../notify/notify.ts'
import { timestamp } from './route.ts'

/** What replies hold. A field that is not named here never leaves: hashes, envelopes and tokens stay inside. */
const id = { _id: z.string() }

export const userReply = z.object({ ...id, email: z.string(), name: z.string(), role: z.enum(roles), created_at: timestamp })

export const apiKeyReply = z.object({
  ...id,
  name: z.string(),
  role: z.enum(roles),
  project_id: z.string().default(''),
  prefix: z.string(),
  created_by: z.string(),
  created_at: timestamp,
  revoked_at: timestamp.nullable(),
})

export const projectReply = z.object({ ...id, name: z.string(), created_at: timestamp })

export const authorityReply = z.object({
  ...id,
  name: z.string(),
  root_pem: z.string(),
  intermediate_pem: z.string(),
  crl_number: z.number(),
  created_at: timestamp,
})

export const certificateReply = z.object({
  ...id,
  project_id: z.string(),
  name: z.string(),
  tags: z.array(z.string()).default([]),
  sans: z.array(z.string()),
  kind: z.enum(['managed', 'watched']),
  state: z.enum(certificateStates),
  ca_id: z.string(),
  account_id: z.string(),
  challenge: z.string(),
  dns_credential_id: z.string(),
  renewal_state: z.string(),
  renewal_error: z.string(),
  issuer: z.string(),
  serial: z.string(),
  fingerprint: z.string(),
  key_type: z.string(),
  not_before: timestamp,
  not_after: timestamp,
  auto_renew: z.boolean(),
  next_renewal_at: timestamp,
  has_key: z.boolean(),
  created_at: timestamp,
})

export const acmeAccountReply = z.object({
  ...id,
  project_id: z.string(),
  name: z.string(),
  directory_url: z.string(),
  is_staging: z.boolean(),
  email: z.string(),
  profile: z.string(),
  account_url: z.string(),
  /** Orders of late, beside what the best-known CA allows. */
  orders: z.object({ used: z.number(), limit: z.number(), hours: z.number() }),
  created_at: timestamp,
})

export const dnsCredentialReply = z.object({
  ...id,
  project_id: z.string(),
  name: z.string(),
  provider: z.enum(dnsProviders),
  settings: z.record(z.string(), z.string()),
  probed_at: timestamp.nullable(),
  probe_error: z.string(),
  created_at: timestamp,
})

export const deployTargetReply = z.object({
  ...id,
  name: z.string(),
  kind: z.enum(targetKinds),
  settings: z.record(z.string(), z.string()),
  created_at: timestamp,
})

export const deploymentReply = z.object({
  ...id,
  certificate_id: z.string(),
  target_id: z.string(),
  fingerprint: z.string(),
  deployed_at: timestamp.nullable(),
  error: z.string(),
  created_at: timestamp,
})

export const channelReply = z.object({
  ...id,
  name: z.string(),
  kind: z.enum(channelKinds),
  settings: z.record(z.string(), z.string()),
  min_severity: z.enum(severities),
  project_id: z.string(),
  last_sent_at: timestamp.nullable(),
  last_error: z.string(),
  created_at: timestamp,
})

export const jobReply = z.object({
  ...id,
  kind: z.string(),
  subject: z.string(),
  state: z.enum(['queued', 'running', 'succeeded', 'dead']),
  run_at: timestamp,
  attempts: z.number(),
  steps: z.array(z.object({ at: timestamp, text: z.string() })),
  error: z.string(),
  created_at: timestamp,
  finished_at: timestamp.nullable(),
})

export const auditReply = z.object({
  ...id,
  at: timestamp,
  actor: z.object({ kind: z.string(), id: z.string(), name: z.string() }),
  event: z.string(),
  subject: z.string(),
  data: z.record(z.string(), z.unknown()),
  seq: z.number(),
})
