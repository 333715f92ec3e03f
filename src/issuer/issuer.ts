import type { KeyObject } from 'node:crypto'

/** What a certificate is to say. The public key comes from a CSR or from a key we made. */
export interface CertificateRequest {
  /** SubjectPublicKeyInfo, DER. */
  publicKey: Buffer
  commonName: string
  /** DNS names and IP addresses. */
  sans: readonly string[]
  notBefore: Date
  notAfter: Date
}

export interface IssuedCertificate {
  /** Lower-case hex, without sign octet. */
  serial: string
  certificatePem: string
  /** Intermediates, leaf's issuer first, without the root. */
  chainPem: string
}

export interface RevokedSerial {
  serial: string
  revokedAt: Date
  /** CRLReason (RFC 5280, 5.3.1). */
  reason: RevocationReason
}

export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
} as const
export type RevocationReason = keyof typeof revocationReasons

/** Signs certificates and revocation lists. */
export interface Issuer {
  /** @throws AppError `usage` a name that cannot stand in a certificate */
  issue(request: CertificateRequest): Promise<IssuedCertificate>
  /** A DER-encoded CRL (RFC 5280, 5). */
  crl(revoked: readonly RevokedSerial[], number: number, now: Date): Promise<Buffer>
}

/** A certificate with the private key that signs for it. */
export interface SigningPair {
  certificatePem: string
  key: KeyObject
}
