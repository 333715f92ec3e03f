import { isAppError } from '../core/app-error.ts'
import type { Store, StoredDocument } from '../store/store.ts'

export interface Lease extends StoredDocument {
  owner: string
  expires_at: Date
}

/** Takes or extends a named lease. @returns whether `owner` has it now */
export async function holdLease(store: Store, name: string, owner: string, now: Date, durationMs: number): Promise<boolean> {
  const document: Lease = { _id: name, owner, expires_at: new Date(now.getTime() + durationMs) }
  const held = await store.get<Lease>('locks', name)
  if (held !== undefined && held.owner !== owner && held.expires_at > now) return false
  try {
    if (held === undefined) await store.commit([{ insert: 'locks', document }])
    else await store.commit([{ replace: 'locks', document, expect: { owner: held.owner, expires_at: held.expires_at } }])
    return true
  } catch (error) {
    if (isAppError(error, 'conflict') || isAppError(error, 'exists')) return false
    throw error
  }
}

/** Extends a lease that `owner` still has; one that is gone stays gone. @returns whether `owner` has it now */
export async function extendLease(store: Store, name: string, owner: string, now: Date, durationMs: number): Promise<boolean> {
  const held = await store.get<Lease>('locks', name)
  if (held?.owner !== owner) return false
  const document: Lease = { ...held, expires_at: new Date(now.getTime() + durationMs) }
  try {
    await store.commit([{ replace: 'locks', document, expect: { owner, expires_at: held.expires_at } }])
    return true
  } catch (error) {
    if (isAppError(error, 'conflict')) return false
    throw error
  }
}

export async function dropLease(store: Store, name: string, owner: string): Promise<void> {
  await store.commit([{ remove: 'locks', id: name, expect: { owner } }]).catch((error) => {
    if (!isAppError(error, 'conflict')) throw error
  })
}

/** Who has a lease now, if anybody has. */
export async function leaseHolder(store: Store, name: string, now: Date): Promise<string | undefined> {
  const held = await store.get<Lease>('locks', name)
  return held !== undefined && held.expires_at > now ? held.owner : undefined
}
