import type { z } from 'zod'
import type {
  acmeAccountReply,
  apiKeyReply,
  auditReply,
  authorityReply,
  certificateReply,
  channelReply,
  deploymentReply,
  deployTargetReply,
  dnsCredentialReply,
  jobReply,
  projectReply,
  userReply,
} from '../../src/http/schemas.ts'

/** What the API answers, from the schemas that validate it there. */
export type Certificate = z.output<typeof certificateReply> & {
  certificate_pem?: string
  chain_pem?: string
  key_kek_version?: number | null
  key_sealed_at?: string | null
  chain?: { name: string; issuer: string; not_before: string; not_after: string }[]
}
export type Job = z.output<typeof jobReply>
export type User = z.output<typeof userReply>
export type ApiKey = z.output<typeof apiKeyReply>
export type Authority = z.output<typeof authorityReply>
export type AcmeAccount = z.output<typeof acmeAccountReply>
export type DnsCredential = z.output<typeof dnsCredentialReply>
export type Channel = z.output<typeof channelReply>
export type DeployTarget = z.output<typeof deployTargetReply>
export type Deployment = z.output<typeof deploymentReply>
export type AuditEntry = z.output<typeof auditReply>
export type Project = z.output<typeof projectReply>

export interface Page<T> {
  items: T[]
  next_cursor: string | null
}

export interface Overview {
  certificates: { total: number; active: number; expiring: number; expired: number; failing: number; requested: number }
  jobs: { queued: number; running: number; dead: number }
  recoverability: Recoverability
  setup: { issuers: number; channels: number; is_kit_here: boolean }
  safe_mode: { reason: string; since: string } | null
}

export interface Recoverability {
  restorable_to: string | null
  bundle: string | null
  verified_at: string | null
  recovery_proven_at: string | null
  is_recovery_proven: boolean
  last_drill: { at: string; outcome: string; recovery_ms: number } | null
  drill_interval_days: number
  copies: number
  targets: number
  targets_current: number
  damaged: number
}

export interface Backup {
  name: string
  bytes: number
  duration_ms: number | null
  is_damaged: boolean
  created_at: string | null
  suspect: string
  kek_versions: { version: number; fingerprint: string }[]
  verified_at: string | null
  verified_level: string | null
  recovery_proven_at: string | null
  failure: string
  copies: { target: string; at: string }[]
  pin: { reason: string; until: string | null; by: string } | null
  counts: Record<string, number>
}

export interface BackupTarget {
  name: string
  kind: string
  place: string
  copies: number
  lacking: number
  newest_at: string | null
  tried_at: string | null
  /** Of the last attempt; empty when it went well. */
  error: string
  whole_at: string | null
}

export interface TargetTest {
  can_remove: boolean
  findings: string[]
  milliseconds: number
}

export interface Retention {
  /** Why nothing may be removed now; empty when it may. */
  stopped: string
  items: { name: string; is_kept: boolean; reasons: string[] }[]
}

export interface BundleContents {
  name: string
  installation_id: string
  epoch: number
  app_version: string
  taken_at: string
  signer: string
  recipients: string[]
  engine: string
  database: string
  members: { name: string; bytes: number }[]
  collections: { name: string; count: number; bytes: number }[]
  kek_versions: { version: number; fingerprint: string; envelopes: number; opened: number }[]
}

export interface Drill {
  id: string
  bundle: string
  started_at: string
  outcome: string
  failure: string
  recovery_ms: number
}

export interface Status {
  version: string
  engine: string
  database: string
  epoch: { epoch: number; safe_mode: boolean } | null
  kek: {
    provider: string
    active_version: number
    versions: { version: number; fingerprint: string; state: string; created_at: string }[]
  }
}
