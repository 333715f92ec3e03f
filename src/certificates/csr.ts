import 'reflect-metadata'
import { createPublicKey, type KeyObject } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { AppError, messageOf } from '../core/app-error.ts'

/** Reads a PKCS#10 request (RFC 2986) and checks that it was signed with its own key. @throws AppError `usage` */
export async function readCsr(pem: string): Promise<{ publicKey: Buffer; names: string[] }> {
  const request = parsed(pem)
  if (!(await request.verify().catch(() => false))) throw new AppError('usage', 'the CSR is not signed with its own key')
  const extension = request.getExtension('2.5.29.17')
  const sans = extension === null ? [] : new x509.SubjectAlternativeNameExtension(extension.rawData).names.toJSON()
  const names = sans.filter((name) => name.type === 'dns' || name.type === 'ip').map((name) => name.value)
  const commonName = request.subjectName.getField('CN')[0]
  const isListed = commonName === undefined || names.includes(commonName)
  return { publicKey: Buffer.from(request.publicKey.rawData), names: isListed ? names : [commonName, ...names] }
}

function parsed(pem: string): x509.Pkcs10CertificateRequest {
  try {
    return new x509.Pkcs10CertificateRequest(pem)
  } catch (error) {
    throw new AppError('usage', `not a certificate signing request: ${messageOf(error)}`, {
      hint: 'it starts with -----BEGIN CERTIFICATE REQUEST-----',
      cause: error,
    })
  }
}

/** A PKCS#10 request in DER for names, signed with their key. */
export async function makeCsr(key: KeyObject, names: readonly string[]): Promise<Buffer> {
  const algorithm =
    key.asymmetricKeyType === 'rsa'
      ? { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
      : { name: 'ECDSA', namedCurve: curveOf(key), hash: curveOf(key) === 'P-384' ? 'SHA-384' : 'SHA-256' }
  const keys = {
    privateKey: key.toCryptoKey(algorithm, true, ['sign']),
    publicKey: createPublicKey(key).toCryptoKey(algorithm, true, ['verify']),
  }
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: new x509.Name([{ CN: [names[0] as string] }]).toString(),
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value })))],
  })
  return Buffer.from(request.rawData)
}

function curveOf(key: KeyObject): string {
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'P-384' : 'P-256'
}

/**
 * What an ACME CA calls a certificate (RFC 9773, 4.1): the key identifier of its authority and its serial, both base64url.
 * @returns undefined for a certificate without such an identifier
 */
export function ariId(pem: string): string | undefined {
  const certificate = new x509.X509Certificate(pem)
  const authority = certificate.getExtension(x509.AuthorityKeyIdentifierExtension)
  if (authority?.keyId === undefined) return undefined
  const serial = Buffer.from(certificate.serialNumber, 'hex')
  const signed = (serial[0] ?? 0) > 0x7f ? Buffer.concat([Buffer.of(0), serial]) : serial
  return `${Buffer.from(authority.keyId, 'hex').toString('base64url')}.${signed.toString('base64url')}`
}
