import { parentPort, workerData } from 'node:worker_threads'
import { parseEnvFile } from './config/env-file.ts'
import { secretsFrom } from './config/secrets.ts'
import { release } from './core/release.ts'
import { openEnvKeyProvider } from './kek/env/key-provider.ts'
import { emptyTally, tallyEnvelopes } from './kek/open-envelopes.ts'

/** A thread that opens envelopes; its other side is `envelope-thread.ts`. */
type Message = { collection: string; fields: string[]; documents: Uint8Array } | 'finish'

const { secretsContent } = workerData as { secretsContent: string }
const provider = openEnvKeyProvider(secretsFrom(parseEnvFile(secretsContent, 'secrets.env')).keks)
const tally = emptyTally()

parentPort?.on('message', (message: Message) => {
  if (message === 'finish') {
    parentPort?.postMessage({ tally })
    return
  }
  const { buffer, byteOffset, byteLength } = message.documents
  try {
    tallyEnvelopes(provider, tally, { ...message, documents: Buffer.from(buffer, byteOffset, byteLength) })
    release(message.documents)
    parentPort?.postMessage({ doneBytes: byteLength })
  } catch (error) {
    // An error loses its class on the way to the other thread, so it travels as what it says.
    const { code = 'failed', message: text } = error as { code?: string; message: string }
    parentPort?.postMessage({ code, text })
  }
})
