import { Worker } from 'node:worker_threads'
import type { Log } from './app.ts'
import { AppError, type ErrorCode } from './core/app-error.ts'

/** What the thread is told at its start. */
export interface LoopsInput {
  environment: Record<string, string | undefined>
  /** The process has one name, whichever thread writes it. */
  instance: string
  publicUrl: string
  /** State of the gate that both threads share. */
  gate: SharedArrayBuffer
}

/** What the thread says. */
export type LoopsMessage =
  | { log: 'info' | 'warn' | 'error'; data: object; text: string }
  | { failure: { code: ErrorCode; text: string } }

/** Far more than any job needs. Under a low limit the heap is collected before it has grown to several times of what lives. */
const maxHeapMb = 512

/**
 * Runs worker and scheduler in a thread of their own until `signal` aborts, so that no request waits for a job's work.
 * @throws AppError what stopped the thread
 */
export async function runLoopsThread(input: LoopsInput, log: Log, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const resourceLimits = { maxOldGenerationSizeMb: maxHeapMb }
  const thread = new Worker(new URL('./loops.worker.ts', import.meta.url), { workerData: input, resourceLimits })
  const stop = () => thread.postMessage('stop')
  signal.addEventListener('abort', stop, { once: true })
  let failure: Error | undefined
  thread.on('message', (message: LoopsMessage) => {
    if ('log' in message) log[message.log](message.data, message.text)
    else {
      failure = new AppError(message.failure.code, message.failure.text)
      void thread.terminate()
    }
  })
  thread.on('error', (error: Error) => {
    failure = error
  })
  await new Promise((resolve) => thread.once('exit', resolve))
  signal.removeEventListener('abort', stop)
  if (failure !== undefined) throw failure
  if (!signal.aborted)
    throw new AppError('failed', 'the thread that runs jobs has ended', { hint: 'the log says what came before' })
}
