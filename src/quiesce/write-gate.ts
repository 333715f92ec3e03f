import { AsyncLocalStorage } from 'node:async_hooks'
import { AppError } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'

/** Indexes into the shared state. */
const isClosed = 0
const inFlight = 1
const stateBytes = 16
const pollMs = 25
/** How long a change waits for a sign of life of its own process, before it is refused. */
const patienceMs = 5_000

/** What a change does that finds the gate closed: a request is answered, a job waits. */
export type AtClosedGate = 'refuse' | 'wait'

/**
 * Lets the changes of one process through, or holds them back; its threads share it. Behind a closed gate nothing is in flight.
 *
 * It is closed too while the process has not said for long that it lives: whoever takes backups no longer waits for it then.
 */
export class WriteGate {
  readonly shared: SharedArrayBuffer
  readonly #atClosed: AtClosedGate
  readonly #counts: Int32Array
  readonly #validUntil: BigInt64Array
  /** Ends what waits at the closed gate: the process stops. */
  stopping: AbortSignal | undefined
  readonly #passed = new AsyncLocalStorage<{ isInside: boolean }>()

  constructor(atClosed: AtClosedGate, shared = new SharedArrayBuffer(stateBytes)) {
    this.shared = shared
    this.#atClosed = atClosed
    this.#counts = new Int32Array(shared, 0, 2)
    this.#validUntil = new BigInt64Array(shared, 8, 1)
  }

  get isClosed(): boolean {
    return Atomics.load(this.#counts, isClosed) === 1
  }

  /** Whether every change that had passed has ended. */
  get isIdle(): boolean {
    return Atomics.load(this.#counts, inFlight) === 0
  }

  close(): void {
    Atomics.store(this.#counts, isClosed, 1)
  }

  open(): void {
    Atomics.store(this.#counts, isClosed, 0)
  }

  /** Says that the process counts as living until then. @param deadline of the monotonic clock, ns */
  keepValid(deadline: bigint): void {
    Atomics.store(this.#validUntil, 0, deadline)
  }

  /**
   * Makes changes while the gate is open. What is called by something that has passed already passes with it.
   * @throws AppError `paused` changes are refused at present · `unreachable` this process does not count as living
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#passed.getStore()?.isInside) return work()
    await this.#enter()
    const pass = { isInside: true }
    try {
      return await this.#passed.run(pass, work)
    } finally {
      pass.isInside = false
      Atomics.sub(this.#counts, inFlight, 1)
    }
  }

  /** Counted first and looked at afterwards, so that whoever closes the gate either is seen or sees this one. */
  async #enter(): Promise<void> {
    for (const deadline = performance.now() + patienceMs; ; await sleep(pollMs)) {
      Atomics.add(this.#counts, inFlight, 1)
      const isValid = process.hrtime.bigint() < Atomics.load(this.#validUntil, 0)
      if (!this.isClosed && isValid) return
      Atomics.sub(this.#counts, inFlight, 1)
      if (this.stopping?.aborted) throw new AppError('interrupted', 'the process stops while changes are paused')
      if (this.#atClosed === 'wait') continue
      if (this.isClosed) throw writesArePaused()
      if (performance.now() > deadline) throw notLiving()
    }
  }
}

function writesArePaused(): AppError {
  return new AppError('paused', 'a backup is being taken, and nothing is changed meanwhile', {
    hint: 'try again in a few seconds; what only reads is answered',
  })
}

function notLiving(): AppError {
  return new AppError('unreachable', 'this process could not write its sign of life, so it changes nothing', {
    hint: 'look whether the database takes writes',
  })
}
