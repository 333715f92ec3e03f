import { AppError } from '../core/app-error.ts'
import type { Clock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import { dropLease, extendLease, holdLease, type Lease } from './lease.ts'

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
  #extendedAt = performance.now()
  #extending: Promise<void> | undefined

  private constructor(input: LeaseInput) {
    this.#input = input
  }

  /** @returns undefined while another has it */
  static async take(input: LeaseInput): Promise<HeldLease | undefined> {
    const before = await input.store.get<Lease>('locks', input.name)
    if (before !== undefined && input.isGone?.(before.owner)) await dropLease(input.store, input.name, before.owner)
    const lease = new HeldLease(input)
    if (!(await holdLease(input.store, input.name, input.owner, input.clock.now(), input.durationMs))) return undefined
    lease.takenOverFrom = before?.owner ?? ''
    lease.#timer = setInterval(() => lease.#tick(), input.durationMs / 5)
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

  /** @throws AppError `preflight` it has ended, or may have: the process stood still for longer than it lasts */
  requireHeld(): void {
    if (this.#hasLapsed()) void this.giveUp(lost(this.#input.name, 'this process stood still'))
    this.#lost.signal.throwIfAborted()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#extending
    await dropLease(this.#input.store, this.#input.name, this.#input.owner).catch(() => {})
  }

  /** Others may take it when it stands unchanged for its duration, so this side gives it up before that, and never takes it back. */
  #tick(): void {
    if (this.#lost.signal.aborted) return
    if (this.#hasLapsed())
      return void this.giveUp(lost(this.#input.name, 'the database does not answer, or this process stood still'))
    this.#extending ??= this.#extend().finally(() => {
      this.#extending = undefined
    })
  }

  async #extend(): Promise<void> {
    const { store, clock, name, owner, durationMs } = this.#input
    const askedAt = performance.now()
    const isHeld = await extendLease(store, name, owner, clock.now(), durationMs).catch(() => undefined)
    if (isHeld) this.#extendedAt = askedAt
    else if (isHeld === false && !this.#lost.signal.aborted) {
      clearInterval(this.#timer)
      this.#lost.abort(lost(name, 'another process has taken it over'))
    }
  }

  #hasLapsed(): boolean {
    return performance.now() - this.#extendedAt > this.#input.durationMs * 0.8
  }
}

function lost(name: string, why: string): AppError {
  return new AppError('preflight', `the lease "${name}" could not be held: ${why}`, {
    hint: 'run it again when the database is well; nothing was published',
  })
}
