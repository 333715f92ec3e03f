import type { Clock } from '../core/clock.ts'
import type { Lease } from '../jobs/lease.ts'
import type { Store } from '../store/store.ts'

/** Name of the lease under which nobody writes; its owner names the pause. */
export const writePauseName = 'write-pause'
/** A pause whose owner has not extended it for so long is over: its process was killed. */
export const pauseLeaseMs = 10_000

/** What a killed process left is not waited for by one that starts much later. */
const longAgoMs = 60_000

/** Watches for a pause by whether it is still extended, so that wrong clocks of other hosts matter little. */
export class PauseWatch {
  #seen = ''
  #seenAt = 0

  /** @returns the pause in force; empty when there is none */
  async look(store: Store, clock: Clock): Promise<string> {
    const lease = await store.get<Lease>('locks', writePauseName)
    if (lease === undefined || lease.expires_at.getTime() < clock.now().getTime() - longAgoMs) return ''
    const seen = `${lease.owner} ${lease.expires_at.getTime()}`
    const now = performance.now()
    if (seen !== this.#seen) {
      this.#seen = seen
      this.#seenAt = now
    }
    return now - this.#seenAt < pauseLeaseMs ? lease.owner : ''
  }
}
