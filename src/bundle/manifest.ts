import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { AppError, messageOf } from '../core/app-error.ts'
import { canonicalJson } from '../core/canonical-json.ts'
import { Secret } from '../core/secret.ts'

/** Grows when a reader of before could misread a bundle. A newer one is refused. */
export const bundleFormat = 1
export const manifestName = 'manifest.json'
export const archiveName = 'mongo.archive.gz'
export const secretsName = 'secrets.env'
export const configName = 'config.yaml'
export const mongoRootName = 'mongo-root.env'
export const tlsPrefix = 'tls/'

/** What a bundle says of itself. Names keys by fingerprint and holds none. */
export interface Manifest {
  format: number
  app_version: string
  schema_version: number
  installation_id: string
  created_at: string
  store: { engine: string; server_version: string; database: string }
  point_in_time: {
    /** `snapshot`, proven by markers, or `quiesced`: every process had stopped writing. */
    method: 'snapshot' | 'quiesced'
    /** How the database held it. */
    way?: string
    taken_at: string
    /** When the last read of database and secrets had ended. */
    read_until?: string
    /** Logical time of the server, `seconds:increment`; empty where there is none. */
    cluster_time?: string
    is_proven: boolean
  }
  epoch: number
  collections: { name: string; type: string; count: number; bytes: number; crc64: string }[]
  members: { name: string; bytes: number; sha256: string }[]
  kek: {
    provider: string
    active_version: number
    versions: { version: number; fingerprint: string; envelopes: number; opened: number }[]
  }
  audit: { seq: number; hmac: string }
  /** Why an operator should look at this bundle before trusting it; empty when there is nothing. */
  suspect: string
}

export interface SignedManifest {
  manifest: Manifest
  /** `ed25519:` and the public key, base64. */
  signer: string
  /** Ed25519 (RFC 8032) over the canonical JSON of `manifest`, base64. */
  signature: string
}

const signerPrefix = 'ed25519:'

/** A new installation key as PKCS#8 DER, base64. */
export function newSigningKey(): Secret {
  const { privateKey } = generateKeyPairSync('ed25519')
  return new Secret(privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'))
}

/** @throws AppError `config` */
export function signerOf(signingKey: Secret): string {
  const publicKey = createPublicKey(privateKeyOf(signingKey)).export({ format: 'der', type: 'spki' })
  return signerPrefix + publicKey.subarray(-32).toString('base64')
}

/** Signs any value that has a canonical JSON form. */
export function signValue(value: unknown, signingKey: Secret): { signer: string; signature: string } {
  const signature = sign(null, Buffer.from(canonicalJson(value)), privateKeyOf(signingKey)).toString('base64')
  return { signer: signerOf(signingKey), signature }
}

/** Whether `signature` is `signer`'s over the canonical JSON of `value`. */
export function isSignedBy(value: unknown, { signer, signature }: { signer: string; signature: string }): boolean {
  if (!signer.startsWith(signerPrefix)) return false
  const raw = Buffer.from(signer.slice(signerPrefix.length), 'base64')
  if (raw.length !== 32) return false
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw])
  return verify(
    null,
    Buffer.from(canonicalJson(value)),
    createPublicKey({ key: spki, format: 'der', type: 'spki' }),
    Buffer.from(signature, 'base64'),
  )
}

/** @throws AppError `corrupt` not a manifest · `too-new` */
export function parseManifest(bytes: Buffer): SignedManifest {
  let value: Partial<SignedManifest>
  try {
    value = JSON.parse(bytes.toString()) as Partial<SignedManifest>
  } catch (error) {
    throw new AppError('corrupt', `the manifest is not JSON: ${messageOf(error)}`, { cause: error })
  }
  const { manifest } = value
  if (typeof manifest?.format !== 'number') throw new AppError('corrupt', 'the manifest is not one of ours')
  if (manifest.format > bundleFormat) {
    throw new AppError('too-new', `the bundle has format ${manifest.format}, this program knows ${bundleFormat}`, {
      hint: 'update CertAutopilot',
    })
  }
  if (
    !Array.isArray(manifest.members) ||
    !Array.isArray(manifest.collections) ||
    typeof value.signer !== 'string' ||
    typeof value.signature !== 'string'
  ) {
    throw new AppError('corrupt', 'the manifest is incomplete')
  }
  return value as SignedManifest
}

function privateKeyOf(signingKey: Secret) {
  try {
    return createPrivateKey({ key: signingKey.bytes('base64'), format: 'der', type: 'pkcs8' })
  } catch {
    throw new AppError('config', 'CERTAUTOPILOT_SIGNING_KEY is not an Ed25519 key', {
      hint: 'it is PKCS#8 DER in base64, as "certautopilot setup" makes it',
    })
  }
}
