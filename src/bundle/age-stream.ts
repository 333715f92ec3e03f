import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { Encrypter, Recipient, Stanza } from 'age-encryption'
import { ByteQueue } from '../archive/byte-queue.ts'
import { AppError, messageOf } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { checkRecipient, loadAge } from './age-keys.ts'
import { headUnit, type Wrapping } from './wrapping.ts'

/**
 * age (age-encryption.org/v1, C2SP) as a stream. The library makes and opens the header; the payload, which is all the bytes there are,
 * goes through the platform's ChaCha20-Poly1305, some ten times as fast as the library's.
 */
const chunkBytes = headUnit
const tagBytes = 16
const payloadNonceBytes = 16
const maxHeaderBytes = 64 * 1024
export const ageMagic = Buffer.from('age-encryption.org/v1\n')

export interface SealWrapping extends Wrapping {
  /** Opens what `body` has sealed, to seal it for others too. @throws AppError `corrupt` */
  openBody(sealed: AsyncIterable<Buffer>, headBytes: number): AsyncIterable<Buffer>
}

/** Seals to recipients. @throws AppError `config` a recipient is malformed, or there is none */
export async function sealWrapping(recipients: readonly string[]): Promise<SealWrapping> {
  const { header, fileKey } = await makeHeader(recipients)
  const payloadNonce = randomBytes(payloadNonceBytes)
  const key = payloadKey(fileKey, payloadNonce)
  const start = Buffer.concat([header, payloadNonce])
  return {
    spaceOf: (headBytes) => start.length + headBytes + tagBytes * (headBytes / chunkBytes),
    head: (plain, isAll) => Buffer.concat([start, ...sealHead(key, plain, isAll)]),
    body: (plain, headBytes) => sealBody(key, plain, headBytes / chunkBytes),
    openBody: (sealed, headBytes) => openChunks(key, new ByteQueue(sealed), headBytes / chunkBytes),
  }
}

function* sealHead(key: Buffer, plain: Buffer, isAll: boolean): Generator<Buffer> {
  const count = Math.max(1, Math.ceil(plain.length / chunkBytes))
  for (let n = 0; n < count; n++) {
    const chunk = plain.subarray(n * chunkBytes, (n + 1) * chunkBytes)
    yield* sealChunk(key, chunkNonce(n, isAll && n === count - 1), chunk)
  }
}

async function* sealBody(key: Buffer, plain: AsyncIterable<Buffer>, firstChunk: number): AsyncGenerator<Buffer> {
  const queue = new ByteQueue(plain)
  let chunk = await queue.peek(chunkBytes)
  for (let n = firstChunk; chunk.length > 0; n++) {
    const current = queue.take(chunk.length)
    chunk = await queue.peek(chunkBytes)
    yield* sealChunk(key, chunkNonce(n, chunk.length === 0), current)
  }
}

function sealChunk(key: Buffer, nonce: Buffer, plain: Buffer): Buffer[] {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: tagBytes })
  const sealed = cipher.update(plain)
  cipher.final()
  return [sealed, cipher.getAuthTag()]
}

/**
 * Decrypts. Yields only authenticated bytes; the end is authenticated too, so a stream that ends without an error is whole.
 * @throws AppError `wrong-identity` sealed for somebody else · `corrupt`
 */
export async function* openSealedStream(identities: readonly Secret[], source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const queue = new ByteQueue(source)
  const fileKey = await openHeader(identities, await takeHeader(queue))
  const nonce = await queue.peek(payloadNonceBytes)
  if (nonce.length < payloadNonceBytes) throw damaged('it is cut short')
  const key = payloadKey(fileKey, Buffer.from(queue.take(payloadNonceBytes)))
  if (await queue.isAtEnd()) throw damaged('it is cut short')
  yield* openChunks(key, queue, 0)
}

/** Nothing at all is opened as nothing: where chunks must be, the caller has looked. */
async function* openChunks(key: Buffer, queue: ByteQueue, firstChunk: number): AsyncGenerator<Buffer> {
  const size = chunkBytes + tagBytes
  let chunk = await queue.peek(size)
  for (let n = firstChunk; chunk.length > 0; n++) {
    const current = queue.take(chunk.length)
    chunk = await queue.peek(size)
    const plaintext = openChunk(key, chunkNonce(n, chunk.length === 0), current)
    if (plaintext.length > 0) yield plaintext
  }
}

/** Opens and seals again to other recipients, under a new file key. @throws as `openSealedStream` and `sealWrapping` */
export async function* resealedStream(
  identities: readonly Secret[],
  source: AsyncIterable<Uint8Array>,
  recipients: readonly string[],
): AsyncGenerator<Buffer> {
  const { header, fileKey } = await makeHeader(recipients)
  const payloadNonce = randomBytes(payloadNonceBytes)
  yield Buffer.concat([header, payloadNonce])
  yield* sealBody(payloadKey(fileKey, payloadNonce), openSealedStream(identities, source), 0)
}

/** The library wraps the file key for each recipient; a recipient of our own learns it on the way. */
async function makeHeader(recipients: readonly string[]): Promise<{ header: Buffer; fileKey: Buffer }> {
  if (recipients.length === 0)
    throw new AppError('config', 'there is no recipient to seal to', { hint: 'set backup.recipients in config.yaml' })
  let fileKey: Buffer | undefined
  const witness: Recipient = {
    wrapFileKey(key: Uint8Array): Stanza[] {
      fileKey = Buffer.from(key)
      return []
    },
  }
  const { Encrypter } = await loadAge()
  const encrypter = new Encrypter()
  encrypter.addRecipient(witness)
  for (const recipient of recipients) addRecipient(encrypter, recipient)
  const empty = Buffer.concat(await Array.fromAsync(await encrypter.encrypt(nothing())))
  return { header: empty.subarray(0, empty.length - payloadNonceBytes - tagBytes), fileKey: fileKey as unknown as Buffer }
}

/** A stream, because for bytes the library loads an HTTP client to collect them, which takes longer than all else here. */
function nothing(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() })
}

function addRecipient(encrypter: Encrypter, recipient: string): void {
  checkRecipient(recipient)
  try {
    encrypter.addRecipient(recipient)
  } catch (error) {
    throw new AppError('config', `"${recipient}" is not an age recipient: ${messageOf(error)}`, { cause: error })
  }
}

/** The header ends with a line that starts with `---`. */
async function takeHeader(queue: ByteQueue): Promise<Buffer> {
  for (let size = 1024; ; size *= 2) {
    const start = await queue.peek(size)
    if (!start.subarray(0, ageMagic.length).equals(ageMagic)) throw damaged('it does not start as an age file')
    const lastLine = start.indexOf('\n--- ')
    const end = lastLine < 0 ? -1 : start.indexOf('\n', lastLine + 1)
    if (end >= 0) return Buffer.from(queue.take(end + 1))
    if (start.length < size || size >= maxHeaderBytes) throw damaged('its header has no end')
  }
}

async function openHeader(identities: readonly Secret[], header: Buffer): Promise<Buffer> {
  const { Decrypter } = await loadAge()
  const decrypter = new Decrypter()
  for (const identity of identities) decrypter.addIdentity(identity.reveal())
  try {
    return Buffer.from(await decrypter.decryptHeader(Uint8Array.from(header)))
  } catch (error) {
    if (!/no identity matched/.test(messageOf(error))) throw damaged(`its header is not intact: ${messageOf(error)}`, error)
    throw new AppError('wrong-identity', 'the bundle is sealed for somebody else: none of the identities at hand opens it', {
      hint: 'give the recovery kit with --identity FILE, or in CERTAUTOPILOT_IDENTITY',
      cause: error,
    })
  }
}

function openChunk(key: Buffer, nonce: Buffer, chunk: Buffer): Buffer {
  const end = chunk.length - tagBytes
  if (end < 0) throw damaged('it is cut short')
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: tagBytes })
  decipher.setAuthTag(chunk.subarray(end))
  const plaintext = decipher.update(chunk.subarray(0, end))
  try {
    decipher.final()
  } catch (error) {
    throw damaged('a part of it was changed or is missing', error)
  }
  return plaintext
}

function payloadKey(fileKey: Buffer, nonce: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32))
}

/** STREAM nonces: an 11-byte big-endian counter, then 1 for the last chunk. */
function chunkNonce(counter: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(counter, 5, 6)
  nonce[11] = isLast ? 1 : 0
  return nonce
}

function damaged(detail: string, cause?: unknown): AppError {
  return new AppError('corrupt', `the sealed bundle is damaged: ${detail}`, { hint: 'copy it again, or use another bundle', cause })
}
