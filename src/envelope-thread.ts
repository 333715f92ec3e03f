import { Worker } from 'node:worker_threads'
import { AppError, type ErrorCode } from './core/app-error.ts'
import { type EnvelopeOpener, type EnvelopeTally, usualQueueBytes } from './kek/open-envelopes.ts'

/** Opens envelopes in a thread of its own, so that reading and compressing go on meanwhile. */
export function startEnvelopeThread(secretsContent: Buffer): EnvelopeOpener {
  return new EnvelopeThread(secretsContent)
}

class EnvelopeThread implements EnvelopeOpener {
  readonly #worker: Worker
  #queuedBytes = 0
  #waiting: (() => void)[] = []
  #failure: Error | undefined
  #tally: EnvelopeTally | undefined

  constructor(secretsContent: Buffer) {
    this.#worker = new Worker(new URL('./envelope.worker.ts', import.meta.url), {
      workerData: { secretsContent: secretsContent.toString() },
      resourceLimits: { maxOldGenerationSizeMb: 48, maxYoungGenerationSizeMb: 4 },
    })
    this.#worker.on('message', (message: { doneBytes: number } | { tally: EnvelopeTally } | { code: ErrorCode; text: string }) => {
      if ('doneBytes' in message) this.#queuedBytes -= message.doneBytes
      else if ('tally' in message) this.#tally = message.tally
      else this.#failure = new AppError(message.code, message.text)
      this.#wake()
    })
    this.#worker.on('error', (error: Error) => {
      this.#failure = error
      this.#wake()
    })
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  room(): Promise<void> {
    return this.#until(() => this.#queuedBytes < usualQueueBytes)
  }

  async add(collection: string, fields: readonly string[], documents: Buffer, queueBytes = usualQueueBytes): Promise<void> {
    await this.#until(() => this.#queuedBytes < queueBytes)
    const copy = Uint8Array.from(documents)
    this.#queuedBytes += copy.length
    this.#worker.postMessage({ collection, fields, documents: copy }, [copy.buffer])
  }

  async finish(): Promise<EnvelopeTally> {
    this.#worker.postMessage('finish')
    await this.#until(() => this.#tally !== undefined)
    return this.#tally as EnvelopeTally
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure ??= new Error('the thread of envelopes has ended')
    this.#wake()
    await this.#worker.terminate()
  }

  async #until(isTrue: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      if (isTrue()) return
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
