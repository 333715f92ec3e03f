import { AppError } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'

/**
 * Passes chunks on, and gives up on a source that is silent for too long.
 * @param close ends what the source waits for; called whenever this ends
 * @throws AppError `unreachable`
 */
export async function* withoutSilence(
  source: AsyncIterable<Uint8Array>,
  { where, silenceMs, close }: { where: string; silenceMs: number; close(): void },
): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = chunks.next()
      next.catch(() => {})
      const first = await answeredWithin(next, silenceMs)
      if (first === 'silent') {
        throw new AppError('unreachable', `${where} has sent nothing for ${silenceMs / 1000} s`, {
          hint: 'look at the target and the way to it; the next run tries again',
        })
      }
      if (first.done) return
      const { value } = first
      yield Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
  } finally {
    close()
  }
}

async function answeredWithin<T>(answer: Promise<T>, silenceMs: number): Promise<T | 'silent'> {
  const limit = new AbortController()
  const silence = sleep(silenceMs, limit.signal).then(() => 'silent' as const)
  return Promise.race([answer, silence]).finally(() => limit.abort())
}
