import { AppError } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'

/**
 * Passes chunks on, and gives up on a source that is silent for too long.
 * @param onSilence ends what the source waits for
 * @throws AppError `unreachable`
 */
export async function* withoutSilence(
  source: AsyncIterable<Uint8Array>,
  { where, silenceMs, onSilence }: { where: string; silenceMs: number; onSilence(): void },
): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]()
  for (;;) {
    const limit = new AbortController()
    const silence = sleep(silenceMs, limit.signal).then(() => 'silent' as const)
    const next = chunks.next()
    const first = await Promise.race([next, silence]).finally(() => limit.abort())
    if (first === 'silent') {
      next.catch(() => {})
      onSilence()
      throw new AppError('unreachable', `${where} has sent nothing for ${silenceMs / 1000} s`, {
        hint: 'look at the target and the way to it; the next run tries again',
      })
    }
    if (first.done) return
    const { value } = first
    yield Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
}
