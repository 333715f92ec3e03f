import { type Actor, audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { type CollectionSpec, findAll, type Store, type StoredDocument } from '../store/store.ts'

/** Schema of our documents. A newer one is refused at start. */
export const schemaVersion = 1

/** Which life of the database this is; `_id` is `state`. A restore starts a new one, in safe mode. */
export interface Epoch extends StoredDocument {
  epoch: number
  schema_version: number
  safe_mode: boolean
  safe_mode_reason: string
  /** The bundle that this life came from, if it did. */
  restored_from: string
  started_at: Date
}

export const epochCollections: CollectionSpec[] = [{ name: 'epochs', indexes: [] }]

/** Collections that only mean something to the processes that wrote them: leases, sessions and the like. A restore empties them. */
export const transientCollections = ['sessions', 'login_throttle', 'locks', 'heartbeats', 'idempotency_keys'] as const

/** Reads the state, and makes it in a new database. @throws AppError `too-new` */
export async function openEpoch(store: Store, now: Date): Promise<Epoch> {
  const first: Epoch = {
    _id: 'state',
    epoch: 1,
    schema_version: schemaVersion,
    safe_mode: false,
    safe_mode_reason: '',
    restored_from: '',
    started_at: now,
  }
  const existing = await store.get<Epoch>('epochs', 'state')
  if (existing === undefined) await store.commit([{ insert: 'epochs', document: first }]).catch(() => {})
  const state = existing ?? (await store.get<Epoch>('epochs', 'state')) ?? first
  if (state.schema_version > schemaVersion) {
    throw new AppError('too-new', `the database has schema version ${state.schema_version}, this program knows ${schemaVersion}`, {
      hint: 'update CertAutopilot, or restore a bundle of this version',
    })
  }
  return state
}

/** What a restored database becomes before it goes live, numbered behind every life that is known here: a new epoch in safe mode, without the old fleet's sessions and leases. */
export async function startNewEpoch(
  store: Store,
  actor: Actor,
  input: { restoredFrom: string; presentEpoch: number },
  now: Date,
): Promise<Epoch> {
  const { restoredFrom } = input
  const before = await openEpoch(store, now)
  const next: Epoch = {
    ...before,
    epoch: Math.max(before.epoch, input.presentEpoch) + 1,
    safe_mode: true,
    safe_mode_reason: `restored from "${restoredFrom}"`,
    restored_from: restoredFrom,
    started_at: now,
  }
  for (const collection of transientCollections) {
    for await (const document of findAll(store, collection)) await store.commit([{ remove: collection, id: document._id }])
  }
  await store.commit([
    { replace: 'epochs', document: next },
    audited(actor, 'restore.applied', restoredFrom, { epoch: next.epoch }),
  ])
  return next
}

export async function enterSafeMode(store: Store, actor: Actor, reason: string, now: Date): Promise<Epoch> {
  const before = await openEpoch(store, now)
  if (before.safe_mode) return before
  const next = { ...before, safe_mode: true, safe_mode_reason: reason }
  await store.commit([{ replace: 'epochs', document: next }, audited(actor, 'safe-mode.entered', 'database', { reason })])
  return next
}

/** Lets a restored database act again. */
export async function releaseSafeMode(store: Store, actor: Actor, now: Date): Promise<Epoch> {
  const before = await openEpoch(store, now)
  const next = { ...before, safe_mode: false, safe_mode_reason: '' }
  if (before.safe_mode)
    await store.commit([{ replace: 'epochs', document: next }, audited(actor, 'safe-mode.released', 'database', {})])
  return next
}

/** @throws AppError `safe-mode` */
export async function refuseInSafeMode(store: Store, action: string): Promise<void> {
  const state = await store.get<Epoch>('epochs', 'state')
  if (!state?.safe_mode) return
  throw new AppError('safe-mode', `cannot ${action} in safe mode (${state.safe_mode_reason})`, {
    hint: 'look at what was restored, then run "certautopilot restore release"',
  })
}
