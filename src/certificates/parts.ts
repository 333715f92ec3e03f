import type { Actor } from '../audit/audit.ts'
import type { Clock } from '../core/clock.ts'
import type { Issuer, SigningPair } from '../issuer/issuer.ts'
import type { KekRegistry } from '../kek/registry.ts'
import type { Store } from '../store/store.ts'

/** What the operations on certificates need. */
export interface CertificateParts {
  store: Store
  kek: KekRegistry
  clock: Clock
  issuers: {
    createCa(name: string, now: Date): Promise<{ root: SigningPair; intermediate: SigningPair }>
    open(pair: SigningPair, crlUrl: string): Issuer
  }
  /** Where clients fetch CRLs, without a slash at the end. */
  publicUrl: string
  renewBeforeDays: number
  /** @throws AppError `safe-mode` what acts on the world is refused in safe mode */
  requireAllowed(action: string): Promise<void>
  /** The CA that signs instead of every other one: how a drill keeps production's CA key unused. */
  substituteCaId?: string | undefined
}

export interface Request {
  actor: Actor
}
