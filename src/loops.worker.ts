import { parentPort, workerData } from 'node:worker_threads'
import { type App, type Log, openApp } from './app.ts'
import { isAppError, messageOf } from './core/app-error.ts'
import { sleep } from './core/clock.ts'
import { openHost } from './host.ts'
import { runLoops } from './loops.ts'
import type { LoopsInput, LoopsMessage } from './loops-thread.ts'
import { WriteGate } from './quiesce/write-gate.ts'

/** The thread that runs worker and scheduler; its other side is `loops-thread.ts`. */
const { environment, instance, publicUrl, gate: shared } = workerData as LoopsInput
const gate = new WriteGate('wait', shared)
const stopping = new AbortController()
gate.stopping = stopping.signal
parentPort?.once('message', () => stopping.abort())

const retryMs = 2_000
const say = (message: LoopsMessage) => parentPort?.postMessage(message)
const logAt = (level: 'info' | 'warn' | 'error') => (data: object, text: string) => say({ log: level, data, text })
const log: Log = { info: logAt('info'), warn: logAt('warn'), error: logAt('error') }

try {
  await using stack = new AsyncDisposableStack()
  const app = await openWhenReachable(stack)
  if (app !== undefined) await runLoops(app, 'all', log, stopping.signal)
} catch (error) {
  // An error loses its class on the way to the other thread, so it travels as what it says.
  const { code = 'failed', message: text } = error as { code?: 'failed'; message: string }
  say({ failure: { code, text } })
}

/** The other thread has seen the database, but it may be gone by now. @returns undefined when told to stop before it is back */
async function openWhenReachable(stack: AsyncDisposableStack): Promise<App | undefined> {
  while (!stopping.signal.aborted) {
    try {
      return await openApp(openHost(environment), stack, { instance, publicUrl, gate })
    } catch (error) {
      if (!isAppError(error, 'unreachable')) throw error
      log.warn({ error: messageOf(error) }, 'jobs wait for the database')
      await sleep(retryMs, stopping.signal)
    }
  }
  return undefined
}
