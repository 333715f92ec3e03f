import { AppError } from '../core/app-error.ts'
import type { Clock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import { dropLease, holdLease, type Lease } from './lease.ts'

export interface LeaseInput {
  store: Store
  clock: Clock
  name: string
  owner: string
  durationMs: number
  /** Whether the process of this owner is known to have ended: its lease is not waited for. */
  isGone?(owner: string): boolean
}

/** A lease that is extended until it is disposed. Nobody else has it meanwhile, unless `signal` says so. */
export class HeldLease implements AsyncDisposable {
  /** Whose lease had ended without being given back; empty when nobody's had. */
  takenOverFrom = ''
  readonly #input: LeaseInput
  readonly #lost = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #extendedAt = 0
  #isExtending = false

  private constructor(input: LeaseInput) {
    this.#input = input
  }

  /** @returns undefined while another has it */
  static async take(input: LeaseInput): Promise<HeldLease | undefined> {
    const before = await input.store.get<Lease>('locks', input.name)
    if (before !== undefined && input.isGone?.(before.owner)) await dropLease(input.store, input.name, before.owner)
    const lease = new HeldLease(input)
    if (!(await lease.#hold())) return undefined
    lease.takenOverFrom = before?.owner ?? ''
    lease.#timer = setInterval(() => void lease.#extend(), input.durationMs / 5)
    return lease
  }

  /** Aborts when the lease ends before it is disposed; the reason is an AppError `preflight`. */
  get signal(): AbortSignal {
    return this.#lost.signal
  }

  /** Ends it early, for a reason of the caller's. */
  async giveUp(reason: AppError): Promise<void> {
    if (!this.#lost.signal.aborted) this.#lost.abort(reason)
    await this[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await dropLease(this.#input.store, this.#input.name, this.#input.owner).catch(() => {})
  }

  async #hold(): Promise<boolean> {
    const { store, clock, name, owner, durationMs } = this.#input
    const askedAt = performance.now()
    const isHeld = await holdLease(store, name, owner, clock.now(), durationMs)
    if (isHeld) this.#extendedAt = askedAt
    return isHeld
  }

  /** Others may take it when it stands unchanged for its duration, so this side gives it up before that. */
  async #extend(): Promise<void> {
    if (this.#isExtending) return this.#giveUpInTime()
    this.#isExtending = true
    const isHeld = await this.#hold().catch(() => undefined)
    this.#isExtending = false
    if (isHeld === false) await this.giveUp(lost(this.#input.name, 'another process has taken it over'))
    else this.#giveUpInTime()
  }

  #giveUpInTime(): void {
    const { durationMs, name } = this.#input
    if (performance.now() - this.#extendedAt > durationMs * 0.8) void this.giveUp(lost(name, 'the database does not answer'))
  }
}

function lost(name: string, why: string): AppError {
  return new AppError('preflight', `the lease "${name}" could not be held: ${why}`, {
    hint: 'run it again when the database is well; nothing was published',
  })
}
