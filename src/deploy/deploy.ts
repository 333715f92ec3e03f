import type { Secret } from '../core/secret.ts'

export const targetKinds = ['file', 'webhook'] as const
export type TargetKind = (typeof targetKinds)[number]

/** What is put in use. */
export interface DeployedCertificate {
  id: string
  name: string
  fingerprint: string
  notAfter: Date
  certificatePem: string
  chainPem: string
  keyPem: Secret
}

/** A place where a certificate is used. Deploying the same certificate again changes nothing. */
export interface Deployer {
  /**
   * Puts a certificate in use and sees that it is; what was there before is put back when it is not.
   * @param key the same for every attempt, so that a receiver can tell a repetition
   * @throws AppError `deploy-failed` (what was there is in use again) · `forbidden` · `unreachable`
   */
  deploy(certificate: DeployedCertificate, key: string, step: (text: string) => Promise<void>, signal: AbortSignal): Promise<void>
}

/** How a target is reached; the secret comes out of its envelope and may be empty. */
export interface TargetAccess {
  kind: TargetKind
  settings: Readonly<Record<string, string>>
  secret: string
}

/** What the host's own configuration lets deployments do. */
export interface DeployLimits {
  /** Folders, absolute, into which files may be written. */
  folders: readonly string[]
  /** Whole command lines that may be run. */
  commands: readonly string[]
}
