import { parentPort, workerData } from 'node:worker_threads'
import { type Log, openApp } from './app.ts'
import { openHost } from './host.ts'
import { runLoops } from './loops.ts'
import type { LoopsInput, LoopsMessage } from './loops-thread.ts'

/** The thread that runs worker and scheduler; its other side is `loops-thread.ts`. */
const { environment, instance, publicUrl } = workerData as LoopsInput
const stopping = new AbortController()
parentPort?.once('message', () => stopping.abort())

const say = (message: LoopsMessage) => parentPort?.postMessage(message)
const logAt = (level: 'info' | 'warn' | 'error') => (data: object, text: string) => say({ log: level, data, text })
const log: Log = { info: logAt('info'), warn: logAt('warn'), error: logAt('error') }

try {
  await using stack = new AsyncDisposableStack()
  const app = await openApp(openHost(environment), stack, { instance, publicUrl })
  await runLoops(app, 'all', log, stopping.signal)
} catch (error) {
  // An error loses its class on the way to the other thread, so it travels as what it says.
  const { code = 'failed', message: text } = error as { code?: 'failed'; message: string }
  say({ failure: { code, text } })
}
