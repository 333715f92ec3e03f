import { AppError } from '../core/app-error.ts'
import { type Clock, secondMs, sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import { formatDuration } from '../core/units.ts'
import type { Heartbeat } from '../jobs/job.ts'
import { dropLease, holdLease, leaseHolder } from '../jobs/lease.ts'
import type { Store } from '../store/store.ts'
import { pauseLeaseMs, writePauseName } from './write-pause.ts'

export interface PauseInput {
  store: Store
  clock: Clock
  /** Who asks, for whoever finds it in the way. */
  owner: string
  /** How long every process may take to acknowledge. */
  waitMs: number
  /** After this long the writers go on, whatever was to be done meanwhile. */
  maxMs: number
}

/** While it is held, no process of the service changes anything but leases and signs of life. */
export interface WritePause extends AsyncDisposable {
  /** From when on nothing was written. */
  readonly since: Date
  /** Aborts, with the reason, when the pause ends before it is disposed. */
  readonly signal: AbortSignal
  /** @throws AppError `preflight` it has ended meanwhile */
  requireHeld(): void
}

const extendMs = 2 * secondMs
const pollMs = 100
/** A process counts as living a little longer than it says, for clocks that differ. */
const clockSkewMs = 5 * secondMs

/**
 * Asks every process whose heartbeat lives to stop writing, and waits until each has acknowledged. One whose lease ran out does not write
 * either: its own gate has closed.
 * @throws AppError `locked` (11) another pause is held · `preflight` (24) a process did not acknowledge in time
 */
export async function pauseWriters(input: PauseInput, signal: AbortSignal): Promise<WritePause> {
  const pause = new HeldPause(input)
  await pause.take()
  try {
    await pause.waitForAll(signal)
    return pause
  } catch (error) {
    await pause[Symbol.asyncDispose]()
    throw error
  }
}

class HeldPause implements WritePause {
  since = new Date()
  readonly #input: PauseInput
  readonly #owner: string
  readonly #lost = new AbortController()
  #extending: NodeJS.Timeout | undefined
  #ending: NodeJS.Timeout | undefined
  #extendedAt = 0
  #isExtending = false

  constructor(input: PauseInput) {
    this.#input = input
    this.#owner = `${input.owner} ${newId()}`
  }

  get signal(): AbortSignal {
    return this.#lost.signal
  }

  requireHeld(): void {
    this.#lost.signal.throwIfAborted()
  }

  async take(): Promise<void> {
    const { store, clock } = this.#input
    if (!(await this.#hold())) {
      const holder = await leaseHolder(store, writePauseName, clock.now())
      throw new AppError('locked', `the writers are paused already, by "${holder ?? 'somebody'}"`, {
        hint: `wait until it has ended; a pause whose process was killed ends ${formatDuration(pauseLeaseMs)} later`,
      })
    }
    this.#extending = setInterval(() => void this.#extend(), extendMs)
  }

  async waitForAll(signal: AbortSignal): Promise<void> {
    const { waitMs, maxMs } = this.#input
    for (const deadline = performance.now() + waitMs; ; await sleep(pollMs, signal)) {
      signal.throwIfAborted()
      this.requireHeld()
      const writing = await this.#stillWriting()
      if (writing.length === 0) break
      if (performance.now() > deadline) throw notAcknowledged(writing, waitMs)
    }
    this.since = this.#input.clock.now()
    this.#ending = setTimeout(() => this.#end(tooLong(maxMs)), maxMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#extending)
    clearTimeout(this.#ending)
    await dropLease(this.#input.store, writePauseName, this.#owner).catch(() => {})
  }

  async #stillWriting(): Promise<string[]> {
    const { store, clock } = this.#input
    const living = clock.now().getTime() - clockSkewMs
    const { items } = await store.find<Heartbeat>('heartbeats', { limit: 500 })
    return items.filter((beat) => beat.lease_until.getTime() > living && beat.paused_for !== this.#owner).map((beat) => beat._id)
  }

  async #hold(): Promise<boolean> {
    const { store, clock } = this.#input
    const askedAt = performance.now()
    const isHeld = await holdLease(store, writePauseName, this.#owner, clock.now(), pauseLeaseMs)
    if (isHeld) this.#extendedAt = askedAt
    return isHeld
  }

  /** Others let go of a pause that stands unchanged for `pauseLeaseMs`, so this side gives it up before that. */
  async #extend(): Promise<void> {
    if (this.#isExtending) return this.#giveUpInTime()
    this.#isExtending = true
    const isHeld = await this.#hold().catch(() => undefined)
    this.#isExtending = false
    if (isHeld === false) this.#end(notExtended('another process has taken it over'))
    else this.#giveUpInTime()
  }

  #giveUpInTime(): void {
    if (performance.now() - this.#extendedAt > pauseLeaseMs - extendMs) this.#end(notExtended('the database does not answer'))
  }

  #end(reason: AppError): void {
    if (!this.#lost.signal.aborted) this.#lost.abort(reason)
    void this[Symbol.asyncDispose]()
  }
}

function notAcknowledged(names: readonly string[], waitMs: number): AppError {
  const which = names.map((name) => `"${name}"`).join(', ')
  return new AppError('preflight', `${which} did not stop writing within ${formatDuration(waitMs)}`, {
    hint: 'look what it is doing, or allow more with backup.pause_wait_seconds; nothing was changed, and writers go on',
    details: { writing: names },
  })
}

function tooLong(maxMs: number): AppError {
  return new AppError('preflight', `the writers were paused for ${formatDuration(maxMs)}, the longest they may be`, {
    hint: 'they go on; allow more with backup.max_write_pause_seconds, or do less while they wait',
  })
}

function notExtended(why: string): AppError {
  return new AppError('preflight', `the pause of the writers could not be held: ${why}`, {
    hint: 'they go on; run it again when the database is well',
  })
}
