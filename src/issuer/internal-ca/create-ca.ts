import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { dayMs } from '../../core/clock.ts'
import type { SigningPair } from '../issuer.ts'
import { newKeyPair, signCertificate, signingKeyOf, subjectName } from './x509.ts'

const rootDays = 3650
const intermediateDays = 1825

/** Makes a root and an intermediate CA, P-256 both. The root signs the intermediate and nothing else. */
export async function createCa(name: string, now: Date): Promise<{ root: SigningPair; intermediate: SigningPair }> {
  const rootKeys = await newKeyPair()
  const rootSubject = subjectName(`${name} root`)
  const root = await signCertificate({
    subject: rootSubject,
    issuer: rootSubject,
    notBefore: now,
    notAfter: new Date(now.getTime() + rootDays * dayMs),
    publicKey: rootKeys.publicKey,
    signingKey: rootKeys.signingKey,
    extensions: await caExtensions(rootKeys.publicKey, undefined),
  })
  const keys = await newKeyPair()
  const intermediate = await signCertificate({
    subject: subjectName(`${name} intermediate`),
    issuer: rootSubject,
    notBefore: now,
    notAfter: new Date(now.getTime() + intermediateDays * dayMs),
    publicKey: keys.publicKey,
    signingKey: await signingKeyOf(rootKeys.key),
    extensions: [
      ...(await caExtensions(keys.publicKey, 0)),
      await x509.AuthorityKeyIdentifierExtension.create(root.certificate.publicKey),
    ],
  })
  return {
    root: { certificatePem: root.certificate.toString('pem'), key: rootKeys.key },
    intermediate: { certificatePem: intermediate.certificate.toString('pem'), key: keys.key },
  }
}

async function caExtensions(publicKey: CryptoKey, pathLength: number | undefined): Promise<x509.Extension[]> {
  return [
    new x509.BasicConstraintsExtension(true, pathLength, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
  ]
}
