import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'

/** AES-256-GCM (NIST SP 800-38D) with a 96-bit nonce and a 128-bit tag behind the ciphertext. */
export const nonceBytes = 12
export const tagBytes = 16

export function encryptGcm(key: KeyObject | Buffer, nonce: Buffer, plaintext: Buffer, associated: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(associated)
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** Throws when key, nonce, ciphertext or associated data are not those of the encryption. */
export function decryptGcm(key: KeyObject | Buffer, nonce: Buffer, ciphertext: Buffer, associated: Buffer): Buffer {
  const end = ciphertext.length - tagBytes
  if (end < 0) throw new Error('ciphertext is too short')
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  decipher.setAAD(associated)
  decipher.setAuthTag(ciphertext.subarray(end))
  const plaintext = decipher.update(ciphertext.subarray(0, end))
  decipher.final()
  return plaintext
}
