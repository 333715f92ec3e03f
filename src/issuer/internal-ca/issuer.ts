import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { dayMs } from '../../core/clock.ts'
import {
  type CertificateRequest,
  type IssuedCertificate,
  type Issuer,
  type RevokedSerial,
  revocationReasons,
  type SigningPair,
} from '../issuer.ts'
import { keyAlgorithm, signCertificate, signingKeyOf, subjectAlternativeNames, subjectName } from './x509.ts'

const crlDays = 7

/** Signs with the intermediate of an internal CA. @param crlUrl stands in certificates as the place of the CRL */
export function openInternalCa(pair: SigningPair, crlUrl: string): Issuer {
  return new InternalCa(pair, crlUrl)
}

class InternalCa implements Issuer {
  readonly #certificate: x509.X509Certificate
  readonly #pem: string
  readonly #key: SigningPair['key']
  readonly #crlUrl: string

  constructor(pair: SigningPair, crlUrl: string) {
    this.#certificate = new x509.X509Certificate(pair.certificatePem)
    this.#pem = pair.certificatePem
    this.#key = pair.key
    this.#crlUrl = crlUrl
  }

  async issue(request: CertificateRequest): Promise<IssuedCertificate> {
    const publicKey = new x509.PublicKey(Uint8Array.from(request.publicKey))
    const { serial, certificate } = await signCertificate({
      subject: subjectName(request.commonName),
      issuer: this.#certificate.subject,
      notBefore: request.notBefore,
      notAfter: earlier(request.notAfter, this.#certificate.notAfter),
      publicKey,
      signingKey: await signingKeyOf(this.#key),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        subjectAlternativeNames(request.sans),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate.publicKey),
        new x509.CRLDistributionPointsExtension([this.#crlUrl]),
      ],
    })
    return { serial, certificatePem: certificate.toString('pem'), chainPem: this.#pem }
  }

  async crl(revoked: readonly RevokedSerial[], number: number, now: Date): Promise<Buffer> {
    const crl = await x509.X509CrlGenerator.create({
      issuer: this.#certificate.subject,
      thisUpdate: now,
      nextUpdate: new Date(now.getTime() + crlDays * dayMs),
      signingAlgorithm: keyAlgorithm,
      signingKey: await signingKeyOf(this.#key),
      entries: revoked.map(({ serial, revokedAt, reason }) => ({
        serialNumber: Number.parseInt(serial.slice(0, 2), 16) > 0x7f ? `00${serial}` : serial,
        revocationDate: revokedAt,
        reason: revocationReasons[reason],
      })),
      extensions: [
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate.publicKey),
        new x509.Extension('2.5.29.20', false, crlNumber(number)),
      ],
    })
    return Buffer.from(crl.rawData)
  }
}

function earlier(a: Date, b: Date): Date {
  return new Date(Math.min(a.getTime(), b.getTime()))
}

/** An INTEGER in DER (RFC 5280, 5.2.3). */
function crlNumber(number: number): Uint8Array<ArrayBuffer> {
  const hex = number.toString(16)
  const bytes = [...Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')]
  if ((bytes[0] as number) > 0x7f) bytes.unshift(0)
  return Uint8Array.from([2, bytes.length, ...bytes])
}
