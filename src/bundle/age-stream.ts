import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { Decrypter, Encrypter, type Recipient, type Stanza } from 'age-encryption'
import { ByteQueue } from '../archive/byte-queue.ts'
import { AppError, messageOf } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { checkRecipient } from './age-keys.ts'

/**
 * age (age-encryption.org/v1, C2SP) as a stream. The library makes and opens the header; the payload, which is all the bytes there are,
 * goes through the platform's ChaCha20-Poly1305, some ten times as fast as the library's.
 */
const chunkBytes = 64 * 1024
const tagBytes = 16
const payloadNonceBytes = 16
const maxHeaderBytes = 64 * 1024
export const ageMagic = Buffer.from('age-encryption.org/v1\n')

/** @throws AppError `config` a recipient is malformed, or there is none */
export async function* sealStream(recipients: readonly string[], source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { header, fileKey } = await makeHeader(recipients)
  const nonce = randomBytes(payloadNonceBytes)
  yield Buffer.concat([header, nonce])
  const stream = new ChunkNonce()
  const key = payloadKey(fileKey, nonce)
  const queue = new ByteQueue(source)
  for (let chunk = await queue.peek(chunkBytes); ; ) {
    const current = chunk.length > 0 ? queue.take(chunk.length) : chunk
    chunk = await queue.peek(chunkBytes)
    const isLast = chunk.length === 0
    const cipher = createCipheriv('chacha20-poly1305', key, stream.next(isLast), { authTagLength: tagBytes })
    yield Buffer.concat([cipher.update(current), cipher.final(), cipher.getAuthTag()])
    if (isLast) return
  }
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
  const stream = new ChunkNonce()
  const size = chunkBytes + tagBytes
  for (let chunk = await queue.peek(size); ; ) {
    const current = chunk.length > 0 ? queue.take(chunk.length) : chunk
    chunk = await queue.peek(size)
    const isLast = chunk.length === 0
    const plaintext = openChunk(key, stream.next(isLast), current)
    if (plaintext.length > 0) yield plaintext
    if (isLast) return
  }
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
  const encrypter = new Encrypter()
  encrypter.addRecipient(witness)
  for (const recipient of recipients) addRecipient(encrypter, recipient)
  const empty = Buffer.from(await encrypter.encrypt(new Uint8Array(0)))
  return { header: empty.subarray(0, empty.length - payloadNonceBytes - tagBytes), fileKey: fileKey as unknown as Buffer }
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
class ChunkNonce {
  #counter = 0

  next(isLast: boolean): Buffer {
    const nonce = Buffer.alloc(12)
    nonce.writeUIntBE(this.#counter++, 5, 6)
    nonce[11] = isLast ? 1 : 0
    return nonce
  }
}

function damaged(detail: string, cause?: unknown): AppError {
  return new AppError('corrupt', `the sealed bundle is damaged: ${detail}`, { hint: 'copy it again, or use another bundle', cause })
}
