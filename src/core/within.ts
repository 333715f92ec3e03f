import { sleep } from './clock.ts'

/** Gives up waiting, not the work itself. @throws what `tooLate` makes when there is no answer in time */
export async function within<T>(durationMs: number, work: Promise<T>, tooLate: () => Error): Promise<T> {
  const limit = new AbortController()
  const silence = sleep(durationMs, limit.signal).then(() => {
    if (limit.signal.aborted) return work
    throw tooLate()
  })
  return Promise.race([work, silence]).finally(() => limit.abort())
}
