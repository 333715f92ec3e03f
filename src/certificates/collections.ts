import type { RevocationReason } from '../issuer/issuer.ts'
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
  status: 'active' | 'revoked'
  /** The internal CA that signs for it; empty for a watched certificate. */
  ca_id: string
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
  /** Lower-case text that the search looks in. */
  search: string
  created_at: Date
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
      { name: 'fingerprint', key: { project_id: 1, fingerprint: 1 }, unique: true },
      { name: 'due', key: { next_renewal_at: 1, _id: 1 } },
      { name: 'ca', key: { ca_id: 1 } },
    ],
  },
  {
    name: 'certificate_private_keys',
    indexes: [{ name: 'certificate', key: { certificate_id: 1 } }, kekVersionIndex],
    envelopes: ['encrypted_key'],
  },
  { name: 'issued_serials', indexes: [{ name: 'revoked', key: { ca_id: 1, revoked_at: 1 } }] },
]
