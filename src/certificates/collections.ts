import type { Actor } from '../audit/audit.ts'
import type { DnsProviderName } from '../dns/dns.ts'
import type { RevocationReason } from '../issuer/issuer.ts'
import type { ChallengeType } from '../issuer/ordering-issuer.ts'
import { kekVersionIndex } from '../kek/collections.ts'
import type { Envelope } from '../kek/envelope.ts'
import type { CollectionSpec, StoredDocument } from '../store/store.ts'

/** An isolated namespace of certificates. */
export interface Project extends StoredDocument {
  /** Unique; lower case letters, digits and dashes. */
  name: string
  created_at: Date
}

/** An internal CA. Its root signs its intermediate, which signs certificates. */
export interface CertificateAuthority extends StoredDocument {
  name: string
  root_pem: string
  intermediate_pem: string
  encrypted_root_key: Envelope
  encrypted_intermediate_key: Envelope
  kek_version: number
  /** Grows with every revocation; the number of the CRL. */
  crl_number: number
  created_at: Date
}

/** `managed` certificates are renewed here, `watched` ones are only looked at. */
export type CertificateKind = 'managed' | 'watched'

export interface Certificate extends StoredDocument {
  project_id: string
  name: string
  sans: string[]
  kind: CertificateKind
  /** `requested` until a CA that is asked by protocol has issued it. */
  status: 'requested' | 'active' | 'revoked'
  /** The internal CA that signs for it; empty for a watched certificate and for one from an ACME CA. */
  ca_id: string
  /** The ACME account that orders it; empty for one that comes from elsewhere. */
  account_id: string
  /** How an ACME CA is shown that its names are ours. */
  challenge: ChallengeType | ''
  /** For DNS-01. */
  dns_credential_id: string
  /** When an ACME CA is to be asked again when it would like a renewal (RFC 9773). */
  ari_check_at: Date
  /** Where automatic renewal stands when it does not work, and why. */
  /** The last expiry notice, in days before it; 0 when it said that it has expired. Missing before the first. */
  expiry_notice?: number
  renewal_state: 'failing' | 'stalled' | ''
  /** The job that renews it, or did last. */
  renewal_job_id?: string
  renewal_error: string
  /** The issuer's name as the certificate spells it. */
  issuer: string
  serial: string
  /** SHA-256 of the certificate, lower-case hex. */
  fingerprint: string
  key_type: string
  not_before: Date
  not_after: Date
  certificate_pem: string
  chain_pem: string
  /** Key documents; empty when the key was never here. */
  key_id: string
  previous_key_id: string
  auto_renew: boolean
  /** Far in the future when it is not to be renewed. */
  next_renewal_at: Date
  validity_days: number
  /** Words of the operator's; missing in documents from before there were any. */
  tags?: string[]
  /** Lower-case text that the search looks in: every tag as `#tag `, then what the certificate says. */
  search: string
  created_at: Date
}

/** An account at an ACME CA. */
export interface AcmeAccount extends StoredDocument {
  project_id: string
  name: string
  directory_url: string
  is_staging: boolean
  email: string
  /** PEM of CAs that are trusted when this CA is asked; the public ones if empty. */
  trust_anchors_pem: string
  profile: string
  account_url: string
  encrypted_private_key: Envelope
  kek_version: number
  created_at: Date
}

/** The key that an account is about to change to; `_id` is the account's. */
export interface AcmeNextKey extends StoredDocument {
  encrypted_key: Envelope
  kek_version: number
  requested_by: Actor
}

/** Lets DNS-01 records be published. */
export interface DnsCredential extends StoredDocument {
  project_id: string
  name: string
  provider: DnsProviderName
  /** Everything but the secret: server, key name and the like. */
  settings: Record<string, string>
  encrypted_api_key: Envelope
  kek_version: number
  /** What the last probe found; null and empty before the first. */
  probed_at: Date | null
  probe_error: string
  created_at: Date
}

export interface PublishedChallenge {
  type: ChallengeType
  /** The token, or the name of the record. */
  name: string
  value: string
  zone: string
}

/** An order that is under way, so that it goes on after a crash; `_id` is the certificate's. */
export interface AcmeOrder extends StoredDocument {
  account_id: string
  /** Empty until the CA has taken the order. */
  order_url: string
  encrypted_key: Envelope
  kek_version: number
  /** Written before it is published, so that it is withdrawn whatever happens. */
  published: PublishedChallenge[]
  created_at: Date
}

/** What is answered under `/.well-known/acme-challenge/`; `_id` is the token. */
export interface HttpChallenge extends StoredDocument {
  key_authorization: string
  expires_at: Date
}

/** One line per order that a CA took: what its rate limits count. */
export interface AcmeOrderRecord extends StoredDocument {
  account_id: string
  /** The names, sorted and joined: duplicates are counted by them. */
  names: string
  is_renewal: boolean
  at: Date
}

export interface PrivateKey extends StoredDocument {
  certificate_id: string
  encrypted_key: Envelope
  kek_version: number
  created_at: Date
}

/** Every certificate that an internal CA signed; what CRLs are made of. `_id` is `CA:serial`. */
export interface IssuedSerial extends StoredDocument {
  ca_id: string
  serial: string
  certificate_id: string
  not_after: Date
  revoked_at: Date | null
  reason: RevocationReason
}

export const certificateCollections: CollectionSpec[] = [
  { name: 'projects', indexes: [{ name: 'name', key: { name: 1 }, unique: true }] },
  {
    name: 'certificate_authorities',
    indexes: [{ name: 'name', key: { name: 1 }, unique: true }, kekVersionIndex],
    envelopes: ['encrypted_root_key', 'encrypted_intermediate_key'],
  },
  {
    name: 'certificates',
    indexes: [
      { name: 'expiry', key: { not_after: 1, _id: 1, project_id: 1, status: 1, kind: 1, search: 1 } },
      { name: 'name', key: { name: 1, _id: 1, project_id: 1, status: 1, kind: 1, search: 1 } },
      { name: 'status', key: { status: 1, not_after: 1 } },
      { name: 'fingerprint', key: { project_id: 1, fingerprint: 1 }, unique: true },
      { name: 'due', key: { next_renewal_at: 1, _id: 1 } },
      { name: 'ca', key: { ca_id: 1 } },
      { name: 'renewal_state', key: { renewal_state: 1, _id: 1 } },
      { name: 'ari', key: { ari_check_at: 1, _id: 1 } },
      { name: 'account', key: { account_id: 1 } },
      { name: 'dns_credential', key: { dns_credential_id: 1 } },
    ],
  },
  {
    name: 'certificate_private_keys',
    indexes: [{ name: 'certificate', key: { certificate_id: 1 } }, { name: 'created', key: { created_at: 1 } }, kekVersionIndex],
    envelopes: ['encrypted_key'],
  },
  {
    name: 'acme_accounts',
    indexes: [{ name: 'name', key: { project_id: 1, name: 1 }, unique: true }, kekVersionIndex],
    envelopes: ['encrypted_private_key'],
  },
  {
    name: 'dns_credentials',
    indexes: [{ name: 'name', key: { project_id: 1, name: 1 }, unique: true }, kekVersionIndex],
    envelopes: ['encrypted_api_key'],
  },
  { name: 'acme_orders', indexes: [{ name: 'account', key: { account_id: 1 } }, kekVersionIndex], envelopes: ['encrypted_key'] },
  { name: 'acme_next_keys', indexes: [kekVersionIndex], envelopes: ['encrypted_key'] },
  { name: 'http_challenges', indexes: [{ name: 'expiry', key: { expires_at: 1 }, expireAfterSeconds: 0 }] },
  {
    name: 'acme_order_log',
    indexes: [
      { name: 'account', key: { account_id: 1, at: 1, names: 1 } },
      { name: 'age', key: { at: 1 }, expireAfterSeconds: 8 * 24 * 3600 },
    ],
  },
  { name: 'issued_serials', indexes: [{ name: 'revoked', key: { ca_id: 1, revoked_at: 1 } }] },
]
