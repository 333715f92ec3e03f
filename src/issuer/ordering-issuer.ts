import type { KeyObject } from 'node:crypto'
import type { RevocationReason } from './issuer.ts'

export const challengeTypes = ['http-01', 'dns-01'] as const
export type ChallengeType = (typeof challengeTypes)[number]

/** An order at a CA (RFC 8555, 7.1.3). */
export interface Order {
  url: string
  status: 'pending' | 'ready' | 'processing' | 'valid' | 'invalid'
  authorizations: string[]
  finalize: string
  certificate?: string | undefined
  error?: string | undefined
  retryAfterMs: number
}

/** What the CA wants to see before it believes in a name. */
export interface Authorization {
  url: string
  status: string
  /** Without the `*.` of a wildcard. */
  domain: string
  /** Missing when the CA does not offer this type of challenge. */
  challenge: { url: string; token: string; keyAuthorization: string; dnsValue: string } | undefined
  /** What the CA said when it failed. */
  error: string | undefined
  retryAfterMs: number
}

export interface OrderInput {
  names: readonly string[]
  profile?: string | undefined
  /** The ARI id of the certificate that this one takes over from (RFC 9773, 5). */
  replaces?: string | undefined
}

export interface RenewalWindow {
  start: Date
  end: Date
  explanationUrl: string
  retryAfterMs: number
}

export interface CaDirectory {
  termsUrl: string
  needsExternalAccount: boolean
  profiles: Readonly<Record<string, string>>
}

export interface AccountInput {
  email: string
  eab?: { keyId: string; hmacKey: string } | undefined
}

/**
 * A CA that is asked by protocol, in steps that can be taken up again after a crash. Every method throws AppError `refused-by-ca` (with what
 * the CA said), `throttled`, `unreachable` or `forbidden`.
 */
export interface OrderingIssuer {
  directory(): Promise<CaDirectory>
  /** Finds or makes the account of this key. @returns its URL */
  register(input: AccountInput): Promise<string>
  /** The URL of the account of this key; undefined where the CA knows none (RFC 8555, 7.3.1). */
  findAccount(): Promise<string | undefined>
  createOrder(input: OrderInput): Promise<Order>
  order(url: string): Promise<Order>
  authorization(url: string, type: ChallengeType): Promise<Authorization>
  /** Tells the CA that a challenge can be looked at. */
  respond(challengeUrl: string): Promise<void>
  finalize(order: Order, csr: Buffer): Promise<Order>
  /** PEM, leaf first. */
  download(order: Order): Promise<string>
  revoke(certificate: Buffer, reason: RevocationReason): Promise<void>
  /** Replaces the account key (RFC 8555, 7.3.5). */
  changeKey(next: KeyObject): Promise<void>
  /** When the CA would like a renewal (RFC 9773); undefined where it does not say. */
  renewalWindow(certificateId: string): Promise<RenewalWindow | undefined>
}

/** What is needed to speak to a CA as one account. */
export interface AccountAccess {
  directoryUrl: string
  trustAnchors: string
  key: KeyObject
  /** Empty before the account is registered. */
  accountUrl: string
}
