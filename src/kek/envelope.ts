import { randomBytes } from 'node:crypto'
import { AppError } from '../core/app-error.ts'
import { binaryValue, bsonType, type Element, elementsOf, stringValue } from '../document/raw-document.ts'
import { decryptGcm, encryptGcm, nonceBytes } from './aes-gcm.ts'
import type { KeyProvider } from './key-provider.ts'

/** A secret field: encrypted with a data key of its own, which the KEK wraps. */
export interface Envelope {
  kek_version: number
  provider: string
  wrapped_dek: Buffer
  nonce: Buffer
  ciphertext: Buffer
}

/** The place an envelope belongs to. It opens nowhere else. */
export interface EnvelopePlace {
  collection: string
  recordId: string
  field: string
}

export function sealEnvelope(provider: KeyProvider, version: number, place: EnvelopePlace, plaintext: Buffer): Envelope {
  const dataKey = randomBytes(32)
  const nonce = randomBytes(nonceBytes)
  const ciphertext = encryptGcm(dataKey, nonce, plaintext, associatedData(place))
  return { kek_version: version, provider: provider.name, wrapped_dek: provider.wrap(version, dataKey), nonce, ciphertext }
}

/** @throws AppError `keys-do-not-fit` its KEK is not at hand · `verification-failed` it was changed, or belongs to another place */
export function openEnvelope(provider: KeyProvider, place: EnvelopePlace, envelope: Envelope): Buffer {
  if (envelope.provider !== provider.name) {
    throw new AppError('keys-do-not-fit', `an envelope was made by provider "${envelope.provider}", "${provider.name}" is at hand`)
  }
  const dataKey = provider.unwrap(envelope.kek_version, envelope.wrapped_dek)
  try {
    return decryptGcm(dataKey, envelope.nonce, envelope.ciphertext, associatedData(place))
  } catch (error) {
    throw new AppError(
      'verification-failed',
      `"${place.field}" of "${place.recordId}" in "${place.collection}" does not open: it was changed, or moved here from another record`,
      {
        cause: error,
      },
    )
  }
}

/** Reads an envelope out of a raw document. @throws AppError `verification-failed` the field is not an envelope */
export function rawEnvelope(bytes: Buffer, field: Element): Envelope {
  const envelope: Partial<Envelope> = {}
  if (field.type !== bsonType.document) throw new AppError('verification-failed', `"${field.name}" is not an envelope`)
  for (const element of elementsOf(bytes, field.start)) {
    if (element.name === 'kek_version' && element.type === bsonType.int32) envelope.kek_version = bytes.readInt32LE(element.start)
    else if (element.name === 'provider') envelope.provider = stringValue(bytes, element)
    else if (element.name === 'wrapped_dek' || element.name === 'nonce' || element.name === 'ciphertext') {
      envelope[element.name] = binaryValue(bytes, element)
    }
  }
  const { kek_version, provider, wrapped_dek, nonce, ciphertext } = envelope
  if (kek_version === undefined || provider === undefined || !wrapped_dek || !nonce || !ciphertext) {
    throw new AppError('verification-failed', `"${field.name}" is not a complete envelope`)
  }
  return { kek_version, provider, wrapped_dek, nonce, ciphertext }
}

/** The length-prefixed parts of the place: what binds a ciphertext to its record and field. */
function associatedData({ collection, recordId, field }: EnvelopePlace): Buffer {
  return Buffer.from(
    `certautopilot envelope v1\0${collection.length}:${collection}${recordId.length}:${recordId}${field.length}:${field}`,
  )
}
