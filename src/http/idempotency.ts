import { createHmac } from 'node:crypto'
import type { Caller } from '../access/roles.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { hourMs, minuteMs } from '../core/clock.ts'
import type { CollectionSpec, StoredDocument } from '../store/store.ts'
import type { HttpParts } from './parts.ts'

/** What a creation under an `Idempotency-Key` was asked and answered; `_id` is a digest of who asked and the key. */
interface KeptReply extends StoredDocument {
  /** Keyed digest of method, path and body: a body may hold a password. */
  request: string
  /** Missing while the first request is under way. */
  reply: string | null
  expires_at: Date
}

export const idempotencyCollections: CollectionSpec[] = [
  { name: 'idempotency_keys', indexes: [{ name: 'expiry', key: { expires_at: 1 }, expireAfterSeconds: 0 }] },
]

const keptMs = 24 * hourMs
const runningMs = 2 * minuteMs
const maxKeyLength = 255

/**
 * Runs a creation once per key: who repeats a request gets the first one's answer.
 * @throws AppError `usage` the key is malformed, or was used for another request · `conflict` the first request is still under way
 */
export async function onceForKey(
  { store, clock, access }: HttpParts,
  input: { key: string; caller: Caller; request: unknown },
  create: () => Promise<unknown>,
): Promise<unknown> {
  if (input.key.length > maxKeyLength || !/^[\x21-\x7e]+$/.test(input.key))
    throw new AppError('usage', `"Idempotency-Key" is 1 to ${maxKeyLength} printable characters`)
  const digest = (value: unknown) => createHmac('sha256', access.apiKeyPepper.bytes()).update(JSON.stringify(value)).digest('hex')
  const _id = digest([input.caller.actor.kind, input.caller.actor.id, input.key])
  const request = digest(input.request)
  const until = (durationMs: number) => new Date(clock.now().getTime() + durationMs)
  const begun: KeptReply = { _id, request, reply: null, expires_at: until(runningMs) }
  const before = await store.get<KeptReply>('idempotency_keys', _id)
  const isOver = before === undefined || before.expires_at <= clock.now()
  if (!isOver) return answered(before, request)
  const begin =
    before === undefined
      ? { insert: 'idempotency_keys', document: begun }
      : { replace: 'idempotency_keys', document: begun, expect: { expires_at: before.expires_at } }
  await store.commit([begin]).catch((error) => {
    throw isAppError(error, 'exists') ? underWay() : error
  })
  const reply = await create().catch(async (error) => {
    await store.commit([{ remove: 'idempotency_keys', id: _id }]).catch(() => {})
    throw error
  })
  const kept: KeptReply = { ...begun, reply: JSON.stringify(reply), expires_at: until(keptMs) }
  await store.commit([{ replace: 'idempotency_keys', document: kept }])
  return reply
}

function answered(before: KeptReply, request: string): unknown {
  if (before.request !== request) throw new AppError('usage', 'this "Idempotency-Key" was used for another request')
  if (before.reply === null) throw underWay()
  return JSON.parse(before.reply)
}

function underWay(): AppError {
  return new AppError('conflict', 'the first request with this "Idempotency-Key" is still under way')
}
