import { kekVersionIndex } from '../kek/collections.ts'
import type { Envelope } from '../kek/envelope.ts'
import type { CollectionSpec, StoredDocument } from '../store/store.ts'
import type { TargetKind } from './deploy.ts'

export interface DeployTarget extends StoredDocument {
  name: string
  kind: TargetKind
  /** To look at: everything but secrets, of which a URL's path is one. */
  settings: Record<string, string>
  /** All settings and the secret. */
  encrypted_value: Envelope
  kek_version: number
  created_at: Date
}

/** That a certificate is used at a target, and what is there now. */
export interface Deployment extends StoredDocument {
  certificate_id: string
  target_id: string
  /** Of what was last put there; empty before the first time. */
  fingerprint: string
  deployed_at: Date | null
  error: string
  created_at: Date
}

export const deployCollections: CollectionSpec[] = [
  {
    name: 'deploy_targets',
    indexes: [{ name: 'name', key: { name: 1 }, unique: true }, kekVersionIndex],
    envelopes: ['encrypted_value'],
  },
  {
    name: 'deployments',
    indexes: [
      { name: 'certificate', key: { certificate_id: 1, target_id: 1 }, unique: true },
      { name: 'target', key: { target_id: 1 } },
    ],
  },
]
