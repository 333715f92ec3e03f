import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { AppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'

/** Argon2id (RFC 9106) with the parameters that OWASP names as its minimum: 19 MiB, two passes, one lane. */
const cost = { memory: 19 * 1024, passes: 2, parallelism: 1, tagLength: 32 } as const
export const minPasswordLength = 12
const maxPasswordLength = 1024

const derive = promisify(argon2) as (algorithm: 'argon2id', parameters: Argon2Parameters) => Promise<Buffer>

/** @throws AppError `usage` */
export function checkPassword(password: Secret): void {
  const { length } = password.reveal()
  if (length < minPasswordLength)
    throw new AppError('usage', `the password has ${length} characters, at least ${minPasswordLength} are needed`)
  if (length > maxPasswordLength) throw new AppError('usage', `the password is longer than ${maxPasswordLength} characters`)
}

/** A PHC string: `$argon2id$v=19$m=...,t=...,p=...$salt$hash`. */
export async function hashPassword(password: Secret): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await derive('argon2id', { message: password.bytes(), nonce, ...cost })
  return `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}$${unpadded(nonce)}$${unpadded(tag)}`
}

export async function isPassword(password: Secret, hash: string): Promise<boolean> {
  const match = hash.match(/^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([^$]+)\$([^$]+)$/)
  if (match === null || password.reveal().length > maxPasswordLength) return false
  const [memory, passes, parallelism] = match.slice(1, 4).map(Number) as [number, number, number]
  const wanted = Buffer.from(match[5] as string, 'base64')
  const nonce = Buffer.from(match[4] as string, 'base64')
  const tag = await derive('argon2id', { message: password.bytes(), nonce, memory, passes, parallelism, tagLength: wanted.length })
  return timingSafeEqual(tag, wanted)
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
