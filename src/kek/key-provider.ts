/** Where a KEK lives: wraps and unwraps data keys, and never gives the KEK out. Calls are synchronous, as an HSM's are. */
export interface KeyProvider {
  readonly name: string
  /** Versions that are at hand, ascending. */
  readonly versions: readonly number[]
  /** 16 hex digits that tell keys apart and say nothing about them. @throws AppError `keys-do-not-fit` no such version */
  fingerprint(version: number): string
  /** @throws AppError `keys-do-not-fit` no such version */
  wrap(version: number, dataKey: Buffer): Buffer
  /** @throws AppError `keys-do-not-fit` no such version · `verification-failed` not wrapped by this key */
  unwrap(version: number, wrapped: Buffer): Buffer
}
