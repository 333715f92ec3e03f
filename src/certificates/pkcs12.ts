import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import * as asn1js from 'asn1js'
import * as pkijs from 'pkijs'
import type { Secret } from '../core/secret.ts'

/** PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC (RFC 8018), which OpenSSL 3, Java 8u301 and Windows 10 read. */
const encryption = {
  contentEncryptionAlgorithm: { name: 'AES-CBC', length: 256 },
  hmacHashAlgorithm: 'SHA-256',
  iterationCount: 100_000,
} as const

/** Writes PKCS#12 (RFC 7292): the key and the certificate under one local key id, then the chain. */
export async function writePkcs12(input: {
  key: KeyObject
  certificatePem: string
  chain: readonly string[]
  name: string
  passphrase: Secret
}): Promise<Buffer> {
  const password = Uint8Array.from(input.passphrase.bytes()).buffer
  const leaf = new X509Certificate(input.certificatePem)
  const keyId = createHash('sha1').update(leaf.raw).digest()
  const attributes = () => [
    new pkijs.Attribute({
      type: '1.2.840.113549.1.9.21',
      values: [new asn1js.OctetString({ valueHex: Uint8Array.from(keyId).buffer })],
    }),
    new pkijs.Attribute({ type: '1.2.840.113549.1.9.20', values: [new asn1js.BmpString({ value: input.name })] }),
  ]
  const keyBag = new pkijs.PKCS8ShroudedKeyBag({
    parsedValue: pkijs.PrivateKeyInfo.fromBER(input.key.export({ format: 'der', type: 'pkcs8' })),
  })
  await keyBag.makeInternalValues({ password, ...encryption })
  const certificateBags = [leaf, ...input.chain.map((pem) => new X509Certificate(pem))].map((certificate, index) =>
    certificateBag(certificate, index === 0 ? attributes() : []),
  )

  const pfx = new pkijs.PFX({
    parsedValue: {
      integrityMode: 0,
      authenticatedSafe: new pkijs.AuthenticatedSafe({
        parsedValue: {
          safeContents: [
            {
              privacyMode: 0,
              value: new pkijs.SafeContents({
                safeBags: [
                  new pkijs.SafeBag({ bagId: '1.2.840.113549.1.12.10.1.2', bagValue: keyBag, bagAttributes: attributes() }),
                ],
              }),
            },
            { privacyMode: 1, value: new pkijs.SafeContents({ safeBags: certificateBags }) },
          ],
        },
      }),
    },
  })
  await pfx.parsedValue?.authenticatedSafe?.makeInternalValues({ safeContents: [{}, { password, ...encryption }] })
  await pfx.makeInternalValues({ password, iterations: 100_000, pbkdf2HashAlgorithm: 'SHA-256', hmacHashAlgorithm: 'SHA-256' })
  return Buffer.from(pfx.toSchema().toBER())
}

function certificateBag(certificate: X509Certificate, bagAttributes: pkijs.Attribute[]): pkijs.SafeBag {
  const bagValue = new pkijs.CertBag({ parsedValue: pkijs.Certificate.fromBER(Uint8Array.from(certificate.raw)) })
  return new pkijs.SafeBag({ bagId: '1.2.840.113549.1.12.10.1.3', bagValue, bagAttributes })
}
