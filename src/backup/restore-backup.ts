import { hostActor } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import { type Stage, StageClock } from '../core/stage-clock.ts'
import { type Epoch, enterSafeMode, startNewEpoch } from '../epoch/epoch.ts'
import { requeueJobs } from '../jobs/retire-jobs.ts'
import { buildRegistry } from '../kek/registry.ts'
import type { StoreExchange } from '../store/staging.ts'
import type { Store } from '../store/store.ts'
import { createBackup } from './create-backup.ts'
import type { BackupParts, RestoreJournal } from './parts.ts'
import { type StageInput, stageBundle } from './stage-bundle.ts'

export interface RestoreInput extends StageInput {
  /** Take no backup of the present first. The present is kept aside in any case, for `restore undo`. */
  skipSafetyBundle: boolean
}

export interface RestoreResult {
  id: string
  bundle: string
  documents: number
  certificates: number
  envelopes: { total: number; opened: number }
  epoch: number
  /** Empty when there was nothing to save, or it could not be dumped. */
  safetyBundle: string
  warnings: string[]
  stages: Stage[]
}

/**
 * Restores a bundle over what is there: stages, verifies, saves the present, cuts over, and checks. Nothing live is touched until the
 * staged copy has proved itself; a crash during the cut-over is finished by `resumeRestore`.
 * @throws AppError the codes of `verifyBackup` · `locked` (11) the service runs · `preflight` (24) · `post-check-failed` (27), rolled back
 */
export async function restoreBackup(parts: BackupParts, input: RestoreInput, signal: AbortSignal): Promise<RestoreResult> {
  using _restoring = await parts.locks.hold('restore')
  using _stopped = await parts.locks.hold('serve')
  await resumeRestore(parts)
  const before = await parts.host.readJournal()
  const id = newId()
  const clock = new StageClock()
  await using exchange = await parts.openExchange()
  try {
    await refuseLiveServices(parts)
    parts.progress({ phase: 'staging the bundle' })
    const staged = await stageBundle(parts, await exchange.stage(id, parts.collections), input, signal)
    clock.end('stage and verify')
    await requeueJobs(staged.store, 'interrupted: the database was restored from a backup', parts.clock.now())
    const epoch = await startNewEpoch(
      staged.store,
      hostActor,
      { restoredFrom: input.bundle, presentEpoch: await presentEpoch(parts) },
      parts.clock.now(),
    )
    const certificates = await staged.store.count('certificates')
    await staged.store.close()
    await parts.host.stageFiles(id, staged.files)

    const warnings: string[] = []
    parts.progress({ phase: 'saving the present' })
    const safetyBundle = input.skipSafetyBundle ? '' : await saveThePresent(parts, warnings, signal)
    clock.end('save the present')
    await refuseLiveServices(parts)
    await parts.host.writeJournal({
      database: databaseOf(parts),
      id,
      bundle: input.bundle,
      phase: 'cutting-over',
      safety_bundle: safetyBundle,
      started_at: parts.clock.now().toISOString(),
    })
    parts.progress({ phase: 'cutting over' })
    await resumeRestore(parts)
    clock.end('cut over')
    await checkLive(parts, id, certificates)
    if (before !== undefined)
      await forgetRestore(parts, exchange, before.id).catch((error) =>
        warnings.push(`what the restore before had kept could not be removed: ${messageOf(error)}`),
      )
    clock.end('check')
    return {
      id,
      bundle: input.bundle,
      documents: staged.documents,
      certificates,
      envelopes: staged.envelopes,
      epoch: epoch.epoch,
      safetyBundle,
      warnings,
      stages: clock.stages,
    }
  } catch (error) {
    if ((await parts.host.readJournal())?.id !== id) await exchange.discard(id).catch(() => {})
    throw error
  }
}

/** Only the last restore can be undone; what was kept for the one before goes. */
async function forgetRestore(parts: BackupParts, exchange: StoreExchange, id: string): Promise<void> {
  await exchange.forget(id)
  await parts.host.forgetFiles(id)
}

/**
 * Finishes a cut-over or an undo that a crash interrupted. The service does this before it opens its database.
 * @returns whether there was something to finish: configuration and secrets are others now
 */
export async function resumeRestore(parts: BackupParts): Promise<boolean> {
  const journal = await parts.host.readJournal()
  if (journal === undefined || !isUnfinished(journal)) return false
  if (journal.database !== databaseOf(parts)) {
    throw new AppError('preflight', `a restore of ${journal.database} is unfinished, configured is ${databaseOf(parts)}`, {
      hint: 'run this with the settings that the restore was started with',
    })
  }
  if (journal.phase === 'undoing') await finishUndo(parts, journal)
  else await finishCutOver(parts, journal)
  return true
}

function isUnfinished({ phase }: RestoreJournal): boolean {
  return phase === 'cutting-over' || phase === 'undoing'
}

/** What opens the database in between would stand in the way. @throws AppError `preflight` */
export async function refuseUnfinishedRestore(parts: BackupParts): Promise<void> {
  const journal = await parts.host.readJournal()
  if (journal === undefined || !isUnfinished(journal)) return
  throw new AppError('preflight', `the restore of "${journal.bundle}" is unfinished`, {
    hint: 'start the service, which finishes it',
  })
}

function databaseOf({ config }: BackupParts): string {
  return `${config['database.engine']} database "${config['database.name']}"`
}

async function finishCutOver(parts: BackupParts, journal: RestoreJournal): Promise<void> {
  await using exchange = await parts.openExchange()
  await exchange.cutOver(journal.id)
  await parts.host.swapFiles(journal.id)
  await parts.host.writeJournal({ ...journal, phase: 'live' })
}

export interface UndoResult {
  bundle: string
  /** Of what is undone; empty when it could not be dumped. */
  safetyBundle: string
  warnings: string[]
}

/**
 * Puts back what was there before the last restore, after a bundle of the present. If the restored service was released and has acted,
 * what comes back is in safe mode.
 * @throws AppError `not-found` there was none, or it was undone · `locked`
 */
export async function undoRestore(parts: BackupParts, signal: AbortSignal): Promise<UndoResult> {
  using _restoring = await parts.locks.hold('restore')
  using _stopped = await parts.locks.hold('serve')
  await resumeRestore(parts)
  await refuseLiveServices(parts)
  const journal = await parts.host.readJournal()
  if (journal?.phase !== 'live' || !(await canGoBack(parts, journal.id))) {
    throw new AppError('not-found', 'there is no restore to undo', {
      hint: 'every restore takes a safety bundle first; "backup list" shows it',
    })
  }
  const warnings: string[] = []
  const safetyBundle = await saveThePresent(parts, warnings, signal)
  const hasActed = await hasBeenReleased(parts)
  await parts.host.writeJournal({ ...journal, phase: 'undoing' })
  await finishUndo(parts, journal)
  if (hasActed)
    await withPresent(parts, (store) =>
      enterSafeMode(store, hostActor, `the restore of "${journal.bundle}" was undone`, parts.clock.now()),
    )
  return { bundle: journal.bundle, safetyBundle, warnings }
}

async function canGoBack(parts: BackupParts, id: string): Promise<boolean> {
  await using exchange = await parts.openExchange()
  return await exchange.canGoBack(id)
}

async function presentEpoch(parts: BackupParts): Promise<number> {
  const state = await withPresent(parts, (store) => store.get<Epoch>('epochs', 'state')).catch(() => undefined)
  return state?.epoch ?? 0
}

async function hasBeenReleased(parts: BackupParts): Promise<boolean> {
  const state = await withPresent(parts, (store) => store.get<Epoch>('epochs', 'state'))
  return state?.safe_mode === false
}

async function withPresent<T>(parts: BackupParts, use: (store: Store) => Promise<T>): Promise<T | undefined> {
  const store = await openPresent(parts)
  if (store === undefined) return undefined
  try {
    await store.prepare(parts.collections)
    return await use(store)
  } finally {
    await store.close()
  }
}

/** What was undone is removed only once the journal says that it is. */
async function finishUndo(parts: BackupParts, journal: RestoreJournal): Promise<void> {
  await using exchange = await parts.openExchange()
  await exchange.goBack(journal.id)
  await parts.host.swapFilesBack(journal.id)
  await parts.host.writeJournal({ ...journal, phase: 'undone' })
  await forgetRestore(parts, exchange, journal.id)
}

/** A service on another host, too, would write into the database while it is exchanged. */
async function refuseLiveServices(parts: BackupParts): Promise<void> {
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

/** The present may be broken: that is a reason to restore, not to stop. */
async function openPresent(parts: BackupParts): Promise<Store | undefined> {
  try {
    return await parts.openStore()
  } catch (error) {
    if (isAppError(error, 'unreachable') && parts.config['database.engine'] === 'embedded') return undefined
    throw error
  }
}

async function saveThePresent(parts: BackupParts, warnings: string[], signal: AbortSignal): Promise<string> {
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

async function checkLive(parts: BackupParts, id: string, certificates: number): Promise<void> {
  try {
    const store = await parts.openStore()
    try {
      await store.prepare(parts.collections)
      const keys = parts.keysIn(await parts.secretStore.capture())
      await buildRegistry(
        { store, provider: keys.provider, clock: parts.clock, collections: parts.collections },
        keys.installationId,
      )
      const found = await store.count('certificates')
      if (found !== certificates) throw new Error(`${found} certificates are live, ${certificates} were staged`)
    } finally {
      await store.close()
    }
  } catch (error) {
    const journal = await parts.host.readJournal()
    if (journal?.id === id) {
      await parts.host.writeJournal({ ...journal, phase: 'undoing' })
      await finishUndo(parts, journal)
    }
    throw new AppError(
      'post-check-failed',
      `the restored database did not pass its check and was rolled back: ${messageOf(error)}`,
      {
        hint: 'nothing has changed; look at the cause and try another bundle',
        cause: error,
      },
    )
  }
}
