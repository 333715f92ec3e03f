import 'reflect-metadata'
import { createPrivateKey, type KeyObject, randomBytes, type webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'
import { AppError, messageOf } from '../../core/app-error.ts'

/** ECDSA on P-256 with SHA-256: what every key and signature of the internal CA is. */
export const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** 128 random bits. A first octet above 0x7f gets a zero octet before it, because serial numbers are positive (RFC 5280, 4.1.2.2). */
export function newSerial(): { serial: string; encoded: string } {
  const bytes = randomBytes(16)
  if (bytes[0] === 0) bytes[0] = 1
  const serial = bytes.toString('hex')
  return { serial, encoded: (bytes[0] as number) > 0x7f ? `00${serial}` : serial }
}

export async function newKeyPair(): Promise<{ publicKey: CryptoKey; signingKey: CryptoKey; key: KeyObject }> {
  const pair = (await crypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', pair.privateKey))
  return {
    publicKey: pair.publicKey,
    signingKey: pair.privateKey,
    key: createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }),
  }
}

export async function signingKeyOf(key: KeyObject): Promise<CryptoKey> {
  return crypto.subtle.importKey('pkcs8', Uint8Array.from(key.export({ format: 'der', type: 'pkcs8' })), keyAlgorithm, false, [
    'sign',
  ])
}

export function subjectName(commonName: string): string {
  return new x509.Name([{ CN: [commonName] }]).toString()
}

/** @throws AppError `usage` neither a DNS name nor an IP address */
export function subjectAlternativeNames(sans: readonly string[]): x509.SubjectAlternativeNameExtension {
  return new x509.SubjectAlternativeNameExtension(sans.map((san) => ({ type: isIP(san) ? 'ip' : 'dns', value: san })))
}

export interface CertificateTemplate {
  subject: string
  issuer: string
  notBefore: Date
  notAfter: Date
  publicKey: x509.PublicKeyType
  signingKey: CryptoKey
  extensions: x509.Extension[]
}

export async function signCertificate(
  template: CertificateTemplate,
): Promise<{ serial: string; certificate: x509.X509Certificate }> {
  const { serial, encoded } = newSerial()
  try {
    const certificate = await x509.X509CertificateGenerator.create({
      ...template,
      serialNumber: encoded,
      signingAlgorithm: keyAlgorithm,
    })
    return { serial, certificate }
  } catch (error) {
    throw new AppError('usage', `a certificate for "${template.subject}" cannot be made: ${messageOf(error)}`, { cause: error })
  }
}
