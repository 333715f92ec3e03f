import { hostname } from 'node:os'
import type { Log } from './app.ts'
import { isAppError, messageOf } from './core/app-error.ts'
import { type Clock, sleep } from './core/clock.ts'
import { appVersion } from './host.ts'
import type { Heartbeat } from './jobs/job.ts'
import type { WriteGate } from './quiesce/write-gate.ts'
import { PauseWatch } from './quiesce/write-pause.ts'
import type { Store } from './store/store.ts'

export interface LifeInput {
  /** Not behind the gate. */
  store: Store
  clock: Clock
  gate: WriteGate
  log: Log
  instance: string
  mode: string
  kekVersion(): number
}

const heartbeatMs = 10_000
const heartbeatLeaseMs = 30_000
/** This process stops writing so long before others count it as gone. */
const marginMs = 5_000
const lookMs = 250

/**
 * Says that this process lives, so that a restore does not exchange the database under it, and closes its gate while the writers are
 * paused. Whoever pauses them reads the heartbeats after writing the pause; this writes the heartbeat before it looks for one.
 */
export async function startLife(input: LifeInput): Promise<AsyncDisposable> {
  const life = new Life(input)
  await life.beat()
  await life.look()
  const stopping = new AbortController()
  const going = life.go(stopping.signal)
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort()
      await going
      await input.store.commit([{ remove: 'heartbeats', id: input.instance }]).catch(() => {})
    },
  }
}

class Life {
  readonly #input: LifeInput
  readonly #startedAt: Date
  readonly #watch = new PauseWatch()
  #acknowledged = ''
  #lastBeat = 0

  constructor(input: LifeInput) {
    this.#input = input
    this.#startedAt = input.clock.now()
  }

  async go(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look().catch(() => {})
      if (performance.now() - this.#lastBeat >= heartbeatMs) await this.#tryToBeat()
      await sleep(lookMs, signal)
    }
  }

  /** Closes the gate when there is a pause, says so once nothing is in flight any more, and opens it again. */
  async look(): Promise<void> {
    const { store, clock, gate } = this.#input
    const pause = await this.#watch.look(store, clock)
    if (pause === '') {
      this.#acknowledged = ''
      return gate.open()
    }
    gate.close()
    if (!gate.isIdle || this.#acknowledged === pause) return
    this.#acknowledged = pause
    await this.#tryToBeat()
  }

  async beat(): Promise<void> {
    const { store, clock, gate, instance: _id, mode, kekVersion } = this.#input
    this.#lastBeat = performance.now()
    const asked = process.hrtime.bigint()
    const until = new Date(clock.now().getTime() + heartbeatLeaseMs)
    const about = { mode, host: hostname(), pid: process.pid, version: appVersion, kek_version: kekVersion() }
    const document: Heartbeat = {
      _id,
      ...about,
      paused_for: this.#acknowledged,
      started_at: this.#startedAt,
      lease_until: until,
      expires_at: until,
    }
    await store.commit([{ replace: 'heartbeats', document }]).catch((error) => {
      if (isAppError(error, 'conflict')) return store.commit([{ insert: 'heartbeats', document }])
      throw error
    })
    gate.keepValid(asked + BigInt(heartbeatLeaseMs - marginMs) * 1_000_000n)
  }

  async #tryToBeat(): Promise<void> {
    await this.beat().catch((error) => {
      this.#acknowledged = ''
      this.#input.log.warn({ error: messageOf(error) }, 'the heartbeat could not be written')
    })
  }
}
