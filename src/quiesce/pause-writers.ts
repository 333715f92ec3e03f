import { AppError } from '../core/app-error.ts'
import { type Clock, minuteMs, secondMs, sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import { formatDuration } from '../core/units.ts'
import { HeldLease } from '../jobs/held-lease.ts'
import type { Heartbeat } from '../jobs/job.ts'
import { leaseHolder } from '../jobs/lease.ts'
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

const pollMs = 100
/** A process counts as living a little longer than it says, for clocks that differ. */
const clockSkewMs = 5 * secondMs
/** One that looks gone for less than this is watched for a heartbeat. */
const wrongClockMs = 10 * minuteMs
const beatMs = 12 * secondMs

/**
 * Asks every process whose heartbeat lives to stop writing, and waits until each has acknowledged. One whose lease ran out does not write
 * either: its own gate has closed.
 * @throws AppError `locked` (11) another pause is held · `preflight` (24) a process did not acknowledge in time
 */
export async function pauseWriters(input: PauseInput, signal: AbortSignal): Promise<WritePause> {
  const owner = `${input.owner} ${newId()}`
  await using stack = new AsyncDisposableStack()
  const lease = stack.use(await takeLease(input, owner))
  await waitForAll(input, owner, AbortSignal.any([signal, lease.signal]))
  const since = input.clock.now()
  const ending = setTimeout(() => void lease.giveUp(tooLong(input.maxMs)), input.maxMs)
  stack.defer(() => clearTimeout(ending))
  const kept = stack.move()
  return {
    since,
    signal: lease.signal,
    requireHeld: () => lease.requireHeld(),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

async function takeLease({ store, clock }: PauseInput, owner: string): Promise<HeldLease> {
  const lease = await HeldLease.take({ store, clock, owner, name: writePauseName, durationMs: pauseLeaseMs })
  if (lease !== undefined) return lease
  const holder = await leaseHolder(store, writePauseName, clock.now())
  throw new AppError('locked', `the writers are paused already, by "${holder ?? 'somebody'}"`, {
    hint: `wait until it has ended; a pause whose process was killed ends ${formatDuration(pauseLeaseMs)} later`,
  })
}

async function waitForAll(input: PauseInput, owner: string, signal: AbortSignal): Promise<void> {
  const beats = new BeatWatch()
  for (const deadline = performance.now() + input.waitMs; ; await sleep(pollMs, signal)) {
    signal.throwIfAborted()
    const { items } = await input.store.find<Heartbeat>('heartbeats', { limit: 500 })
    const { writing, isSure } = beats.look(
      items.filter(({ paused_for }) => paused_for !== owner),
      input.clock.now(),
    )
    if (writing.length === 0 && isSure) return
    if (writing.length > 0 && performance.now() > deadline) throw notAcknowledged(writing, input.waitMs)
  }
}

/** Tells processes that live from those that are gone. A clock that is wrong by minutes makes a living one look gone, but it still beats. */
class BeatWatch {
  readonly #started = performance.now()
  readonly #first = new Map<string, number>()

  /** @returns the names of those that live, and whether the others have been watched for long enough */
  look(beats: readonly Heartbeat[], now: Date): { writing: string[]; isSure: boolean } {
    const doubtful = beats.filter((beat) => this.#isDoubtful(beat, now))
    const writing = beats.filter((beat) => beat.lease_until.getTime() > now.getTime() - clockSkewMs || this.#hasBeaten(beat))
    const isSure = doubtful.length === 0 || performance.now() - this.#started > beatMs
    return { writing: writing.map(({ _id }) => _id), isSure }
  }

  #isDoubtful({ _id, lease_until }: Heartbeat, now: Date): boolean {
    if (!this.#first.has(_id)) this.#first.set(_id, lease_until.getTime())
    const goneMs = now.getTime() - lease_until.getTime()
    return goneMs >= clockSkewMs && goneMs < wrongClockMs
  }

  #hasBeaten({ _id, lease_until }: Heartbeat): boolean {
    return this.#first.get(_id) !== lease_until.getTime()
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
