import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import type { Store } from '../store/store.ts'
import { createBackup } from './create-backup.ts'
import type { BackupParts } from './parts.ts'

export async function withPresent<T>(parts: BackupParts, use: (store: Store) => Promise<T>): Promise<T | undefined> {
  const store = await openPresent(parts)
  if (store === undefined) return undefined
  try {
    await store.prepare(parts.collections)
    return await use(store)
  } finally {
    await store.close()
  }
}

/** A service on another host, too, would write into the database while it is exchanged. */
export async function refuseLiveServices(parts: BackupParts): Promise<void> {
  const store = await openPresent(parts)
  if (store === undefined) return
  try {
    await store.prepare(parts.collections)
    const { items } = await store.find<{ _id: string; lease_until: Date }>('heartbeats', { limit: 500 })
    const live = items.filter((beat) => beat.lease_until > parts.clock.now())
    if (live.length > 0) {
      throw new AppError('locked', `the service is running: ${live.map((beat) => `"${beat._id}"`).join(', ')}`, {
        hint: 'stop it everywhere; one that was killed counts as gone after 30 seconds',
      })
    }
  } catch (error) {
    if (isAppError(error, 'locked')) throw error
  } finally {
    await store.close()
  }
}

export async function saveThePresent(parts: BackupParts, warnings: string[], signal: AbortSignal): Promise<string> {
  const store = await openPresent(parts)
  if (store === undefined) {
    warnings.push('the present cannot be opened, so there is no backup of it; it is kept aside for "restore undo"')
    return ''
  }
  try {
    await store.prepare(parts.collections)
    const isEmpty = (await store.count('users')) === 0 && (await store.count('certificates')) === 0
    return isEmpty ? '' : (await createBackup(parts, store, signal)).name
  } catch (error) {
    if (signal.aborted || isAppError(error, 'locked') || isAppError(error, 'config')) throw error
    warnings.push(`the present could not be backed up and is only kept aside for "restore undo": ${messageOf(error)}`)
    return ''
  } finally {
    await store.close()
  }
}

/** The present may be broken: that is a reason to restore, not to stop. */
async function openPresent(parts: BackupParts): Promise<Store | undefined> {
  try {
    return await parts.openStore()
  } catch (error) {
    if (isAppError(error, 'unreachable') && parts.config['database.engine'] === 'embedded') return undefined
    throw error
  }
}
