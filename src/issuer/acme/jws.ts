import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { base64url, FlattenedSign } from 'jose'

/** Flattened JWS (RFC 7515, 7.2.2) as ACME wants it (RFC 8555, 6.2). Account keys are P-256. */
export interface JwsInput {
  key: KeyObject
  /** Undefined for POST-as-GET. */
  payload: unknown
  url: string
  nonce?: string
  /** The account's URL; without it the key itself is sent. */
  accountUrl?: string | undefined
}

export async function signJws({ key, payload, url, nonce, accountUrl }: JwsInput): Promise<object> {
  const body = payload === undefined ? new Uint8Array(0) : Buffer.from(JSON.stringify(payload))
  const who = accountUrl === undefined ? { jwk: publicJwk(key) } : { kid: accountUrl }
  return new FlattenedSign(body)
    .setProtectedHeader({ alg: 'ES256', url, ...(nonce === undefined ? {} : { nonce }), ...who })
    .sign(key)
}

/** Proves that somebody the CA knows owns this account key (RFC 8555, 7.3.4). */
export async function signExternalAccount(key: KeyObject, eab: { keyId: string; hmacKey: string }, url: string): Promise<object> {
  return new FlattenedSign(Buffer.from(JSON.stringify(publicJwk(key))))
    .setProtectedHeader({ alg: 'HS256', kid: eab.keyId, url })
    .sign(base64url.decode(eab.hmacKey))
}

export function publicJwk(key: KeyObject): { kty: string; crv: string; x: string; y: string } {
  const { crv, x, y } = createPublicKey(key).export({ format: 'jwk' })
  return { kty: 'EC', crv: String(crv), x: String(x), y: String(y) }
}

/** What a challenge asks for: `token.thumbprint` (RFC 8555, 8.1; RFC 7638). */
export function keyAuthorization(key: KeyObject, token: string): string {
  const { crv, kty, x, y } = publicJwk(key)
  const thumbprint = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
  return `${token}.${thumbprint}`
}

/** The value of the TXT record of DNS-01 (RFC 8555, 8.4). */
export function dnsChallengeValue(authorization: string): string {
  return createHash('sha256').update(authorization).digest('base64url')
}
