import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { AppError } from '../../core/app-error.ts'
import type { Secret } from '../../core/secret.ts'
import { decryptGcm, encryptGcm, nonceBytes } from '../aes-gcm.ts'
import type { KeyProvider } from '../key-provider.ts'

const variable = 'CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V'

/** Keys from the environment or `secrets.env`: 64 hex digits each. @throws AppError `config` naming the variable and what is wrong with it */
export function openEnvKeyProvider(keks: ReadonlyMap<number, Secret>): KeyProvider {
  const keys = new Map([...keks].sort(([a], [b]) => a - b).map(([version, secret]) => [version, parseKek(version, secret)]))
  if (keys.size === 0) {
    throw new AppError('config', 'there is no KEK', {
      hint: `put ${variable}1 into secrets.env: 64 hex digits, as "openssl rand -hex 32" makes them`,
    })
  }
  return new EnvKeyProvider(keys)
}

class EnvKeyProvider implements KeyProvider {
  readonly name = 'env'
  readonly versions: readonly number[]
  readonly #keys: ReadonlyMap<number, KeyObject>

  constructor(keys: ReadonlyMap<number, KeyObject>) {
    this.#keys = keys
    this.versions = [...keys.keys()]
  }

  fingerprint(version: number): string {
    return createHmac('sha256', this.#key(version)).update('certautopilot kek fingerprint v1').digest('hex').slice(0, 16)
  }

  wrap(version: number, dataKey: Buffer): Buffer {
    const nonce = randomBytes(nonceBytes)
    return Buffer.concat([nonce, encryptGcm(this.#key(version), nonce, dataKey, wrapContext(version))])
  }

  unwrap(version: number, wrapped: Buffer): Buffer {
    const key = this.#key(version)
    try {
      return decryptGcm(key, wrapped.subarray(0, nonceBytes), wrapped.subarray(nonceBytes), wrapContext(version))
    } catch (error) {
      throw new AppError('verification-failed', `a data key was not wrapped by KEK v${version}, or was changed`, { cause: error })
    }
  }

  #key(version: number): KeyObject {
    const key = this.#keys.get(version)
    if (key === undefined)
      throw new AppError('keys-do-not-fit', `KEK v${version} is not at hand`, {
        hint: `${variable}${version} is missing in secrets.env`,
      })
    return key
  }
}

const contexts = new Map<number, Buffer>()

function wrapContext(version: number): Buffer {
  const known = contexts.get(version) ?? Buffer.from(`certautopilot wrapped data key v1, kek ${version}`)
  contexts.set(version, known)
  return known
}

function parseKek(version: number, secret: Secret): KeyObject {
  const text = secret.reveal()
  const problem = kekProblem(text)
  if (problem !== undefined) {
    throw new AppError('config', `"${variable}${version}" ${problem}`, {
      hint: 'a KEK is 64 hex digits, as "openssl rand -hex 32" makes them',
    })
  }
  return createSecretKey(Buffer.from(text, 'hex'))
}

function kekProblem(text: string): string | undefined {
  if (!/^[0-9a-fA-F]*$/.test(text)) return 'is not hex'
  if (text.length !== 64) return `has ${text.length} hex digits instead of 64`
  return /^(..)\1*$/.test(text) ? 'is one byte repeated, which is no key' : undefined
}
