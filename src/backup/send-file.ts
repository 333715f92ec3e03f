import { createHash } from 'node:crypto'
import { sha256Of } from '../bundle/digest.ts'
import { AppError } from '../core/app-error.ts'
import type { Content, Target } from '../target/target.ts'
import type { WrittenFile } from './catalogue.ts'

/** What was given to a target, in the order in which it stands there. */
export type SentFile = readonly WrittenFile[]

interface Sending {
  content: Content
  lockedUntil: Date | undefined
  signal: AbortSignal
  onSent(bytes: number): void
}

/** Stores a file at a target, and knows what it should be read back as. */
export async function sendFile(target: Target, name: string, { content, lockedUntil, signal, onSent }: Sending): Promise<SentFile> {
  let bytes = 0
  const watched = async function* () {
    for await (const chunk of content.body) {
      signal.throwIfAborted()
      bytes += chunk.length
      onSent(bytes)
      yield chunk
    }
  }
  const body = sha256Of(watched())
  await target.put(name, { ...content, body: body.bytes, signal }, lockedUntil)
  const head = await content.head
  const sent = { bytes, sha256: body.value() }
  return head.length === 0 ? [sent] : [{ bytes: head.length, sha256: createHash('sha256').update(head).digest('hex') }, sent]
}

/** Reads a file from a target and compares it with what was sent; one that differs is removed. @throws AppError `unreachable` */
export async function readBack(target: Target, name: string, sent: SentFile): Promise<WrittenFile> {
  const whole = createHash('sha256')
  const left = sent.map((part) => ({ ...part, hash: createHash('sha256') }))
  let bytes = 0
  for await (const chunk of target.open(name)) {
    whole.update(chunk)
    bytes += chunk.length
    for (let rest = chunk; rest.length > 0; ) {
      const part = left.find((candidate) => candidate.bytes > 0)
      if (part === undefined) throw await notWhatWasSent(target, name)
      const own = rest.subarray(0, part.bytes)
      part.hash.update(own)
      part.bytes -= own.length
      rest = rest.subarray(own.length)
    }
  }
  if (left.some((part) => part.bytes > 0 || part.hash.digest('hex') !== part.sha256)) throw await notWhatWasSent(target, name)
  return { bytes, sha256: whole.digest('hex') }
}

async function notWhatWasSent(target: Target, name: string): Promise<AppError> {
  await target.remove(name).catch(() => {})
  return new AppError('unreachable', `target "${target.name}": "${name}" read back is not what was sent`, {
    hint: 'the target or the way to it is faulty; the copy was not published',
  })
}
