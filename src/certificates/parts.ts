import type { Actor } from '../audit/audit.ts'
import type { Clock } from '../core/clock.ts'
import type { DnsAccess, DnsLookup, DnsProvider } from '../dns/dns.ts'
import type { Issuer, SigningPair } from '../issuer/issuer.ts'
import type { AccountAccess, OrderingIssuer } from '../issuer/ordering-issuer.ts'
import type { KekRegistry } from '../kek/registry.ts'
import type { Change, Store } from '../store/store.ts'

/** What the operations on certificates need. */
export interface CertificateParts {
  store: Store
  kek: KekRegistry
  clock: Clock
  issuers: {
    createCa(name: string, now: Date): Promise<{ root: SigningPair; intermediate: SigningPair }>
    open(pair: SigningPair, crlUrl: string): Issuer
  }
  acme(access: AccountAccess, signal: AbortSignal): Promise<OrderingIssuer>
  dns: {
    /** @throws AppError `usage` a setting */
    open(access: DnsAccess): Promise<DnsProvider>
    /** @param authorities count as the zone's own servers, if there are any */
    lookup(authorities: readonly string[]): Promise<DnsLookup>
  }
  /** Where another web server looks for answers to HTTP-01, if there is one. */
  webroot?: { put(token: string, content: string): Promise<void>; remove(token: string): Promise<void> } | undefined
  /** Where clients fetch CRLs, without a slash at the end. */
  publicUrl: string
  renewBeforeDays: number
  /** @throws AppError `safe-mode` what acts on the world is refused in safe mode */
  requireAllowed(action: string): Promise<void>
  /** What else is committed with a renewal: putting it in use. */
  afterRenewal?: (certificateId: string) => Promise<Change[]>
  /** The CA that signs instead of every other one: how a drill keeps production's CA key unused. */
  substituteCaId?: string | undefined
}

export interface Request {
  actor: Actor
}
