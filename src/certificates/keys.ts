import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { AppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import type { Change } from '../store/store.ts'
import type { Certificate, PrivateKey } from './collections.ts'
import type { CertificateParts } from './parts.ts'

const generate = promisify(generateKeyPair)

export const keyTypes = ['ec-p256', 'ec-p384', 'rsa-2048', 'rsa-3072', 'rsa-4096'] as const
export type KeyTypeName = (typeof keyTypes)[number]

export async function newPrivateKey(type: KeyTypeName): Promise<KeyObject> {
  const [family, size] = type.split('-') as ['ec' | 'rsa', string]
  const pair =
    family === 'ec'
      ? await generate('ec', { namedCurve: size === 'p256' ? 'P-256' : 'P-384' })
      : await generate('rsa', { modulusLength: Number(size) })
  return pair.privateKey
}

/** The type to ask for again at a renewal, from the stored description. */
export function keyTypeName(description: string): KeyTypeName {
  const name = description.toLowerCase().replace('ec p-', 'ec-p').replace(' ', '-') as KeyTypeName
  return keyTypes.includes(name) ? name : 'ec-p256'
}

/** Seals a private key for a certificate. */
export function sealedKey(parts: CertificateParts, certificateId: string, key: KeyObject): { id: string; change: Change } {
  const now = parts.clock.now()
  const id = newId(now.getTime())
  const document: PrivateKey = {
    _id: id,
    certificate_id: certificateId,
    encrypted_key: parts.kek.seal(
      { collection: 'certificate_private_keys', recordId: id, field: 'encrypted_key' },
      key.export({ format: 'der', type: 'pkcs8' }),
    ),
    kek_version: parts.kek.activeVersion,
    created_at: now,
  }
  return { id, change: { insert: 'certificate_private_keys', document } }
}

/** @throws AppError `not-found` the key was never here · `verification-failed` · `keys-do-not-fit` */
export async function openPrivateKey(parts: CertificateParts, certificate: Certificate): Promise<KeyObject> {
  const stored = await parts.store.get<PrivateKey>('certificate_private_keys', certificate.key_id)
  if (stored === undefined) throw new AppError('not-found', `there is no private key of "${certificate.name}" here`)
  const place = { collection: 'certificate_private_keys', recordId: stored._id, field: 'encrypted_key' }
  return createPrivateKey({ key: parts.kek.open(place, stored.encrypted_key), format: 'der', type: 'pkcs8' })
}
