import { type KeyObject, X509Certificate } from 'node:crypto'
import { dayMs } from '../core/clock.ts'
import type { Certificate } from './collections.ts'

/** What a certificate says of itself, as we store it. */
export type Description = Pick<
  Certificate,
  'name' | 'sans' | 'issuer' | 'serial' | 'fingerprint' | 'key_type' | 'not_before' | 'not_after' | 'certificate_pem' | 'search'
>

export function describeCertificate(certificate: X509Certificate): Description {
  const commonName = nameParts(certificate.subject)
  const sans = sansOf(certificate)
  const name = commonName || sans[0] || (certificate.subject ?? '').replaceAll('\n', ', ') || '(no name)'
  const serial = certificate.serialNumber.toLowerCase()
  const fingerprint = certificate.fingerprint256.replaceAll(':', '').toLowerCase()
  const issuer = nameParts(certificate.issuer) || (certificate.issuer ?? '').replaceAll('\n', ', ')
  return {
    name,
    sans,
    issuer,
    serial,
    fingerprint,
    key_type: keyType(certificate.publicKey),
    not_before: certificate.validFromDate,
    not_after: certificate.validToDate,
    certificate_pem: certificate.toString(),
    search: [name, ...sans, issuer, serial, fingerprint].join(' ').toLowerCase().slice(0, 1000),
  }
}

/** The text that the search looks in, with the tags in front. */
export function searchText(tags: readonly string[] = [], text: string): string {
  return tags.map((tag) => `#${tag} `).join('') + text.replace(/^(#\S+ )+/, '')
}

/** `EC P-256`, `RSA 2048`, `Ed25519`. */
export function keyType(key: KeyObject): string {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {}
  const kind = key.asymmetricKeyType ?? 'unknown'
  if (modulusLength !== undefined) return `${kind.toUpperCase()} ${modulusLength}`
  if (namedCurve !== undefined)
    return `EC ${{ prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[namedCurve] ?? namedCurve}`
  return kind === 'ed25519' ? 'Ed25519' : kind
}

/** When to renew: the configured days before expiry, but never earlier than after two thirds of the lifetime. */
export function renewalTime(notBefore: Date, notAfter: Date, renewBeforeDays: number): Date {
  const lifetimeMs = notAfter.getTime() - notBefore.getTime()
  return new Date(notAfter.getTime() - Math.min(renewBeforeDays * dayMs, lifetimeMs / 3))
}

export const neverRenewed = new Date('9999-12-31T00:00:00Z')

/** What a certificate has that does not come from an ACME CA. */
export const notFromAcme = { account_id: '', challenge: '', dns_credential_id: '', ari_check_at: neverRenewed } as const

/** Issuing and renewing work, as far as is known. */
export const renewalWorks = { renewal_state: '', renewal_error: '', expiry_notice: 999 } as const

/** A certificate may have no subject at all; its names are then in the extension. */
function nameParts(subject: string | undefined): string {
  return (subject ?? '').match(/(?:^|\n)CN=(.*)/)?.[1] ?? ''
}

function sansOf(certificate: X509Certificate): string[] {
  const text = certificate.subjectAltName ?? ''
  return [...text.matchAll(/(?:DNS|IP Address):([^,"\s]+)/g)].map((match) => match[1] as string).slice(0, 500)
}

/** Splits PEM text into certificates. Throws what the parser throws. */
export function parseCertificates(pem: string): X509Certificate[] {
  return [...pemBlocks(pem, /^(TRUSTED )?CERTIFICATE$/)].map((block) => new X509Certificate(block))
}

/** The blocks of PEM text (RFC 7468) whose label matches, in one pass. */
export function* pemBlocks(text: string, label: RegExp): Generator<string> {
  const begin = '-----BEGIN '
  for (let start = text.indexOf(begin); start >= 0; start = text.indexOf(begin, start + 1)) {
    const labelEnd = text.indexOf('-----', start + begin.length)
    if (labelEnd < 0) return
    const name = text.slice(start + begin.length, Math.min(labelEnd, start + 100))
    const end = label.test(name) ? text.indexOf('-----END ', labelEnd) : -1
    const isWhole = end >= 0 && text.startsWith(`-----END ${name}-----`, end)
    if (isWhole) yield text.slice(start, end + `-----END ${name}-----`.length)
  }
}
