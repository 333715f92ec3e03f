import { AppError } from '../core/app-error.ts'
import { minuteMs, secondMs, sleep } from '../core/clock.ts'
import type { OrderingIssuer } from '../issuer/ordering-issuer.ts'
import type { JobRun } from '../jobs/worker.ts'
import type { AcmeAccount, Certificate } from './collections.ts'
import type { CertificateParts } from './parts.ts'

/** What an order is worked on with. */
export interface OrderRun {
  parts: CertificateParts
  run: JobRun
  certificate: Certificate
  account: AcmeAccount
  issuer: OrderingIssuer
}

const maxWaitMs = 15 * minuteMs
const longestPauseMs = 10 * secondMs

/** Looks again, as often as the CA likes, until something is so. @throws AppError `unreachable` it took too long · `interrupted` */
export async function polled<T extends { retryAfterMs: number }>(
  first: T,
  isDone: (value: T) => boolean,
  look: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const deadline = Date.now() + maxWaitMs
  let value = first
  while (!isDone(value)) {
    if (Date.now() > deadline) throw new AppError('unreachable', `the CA did not decide within ${maxWaitMs / minuteMs} minutes`)
    await sleep(Math.min(Math.max(value.retryAfterMs, 250), longestPauseMs), signal)
    if (signal.aborted) throw new AppError('interrupted', 'the worker stops; another attempt goes on from here')
    value = await look()
  }
  return value
}
