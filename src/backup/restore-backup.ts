import { hostActor } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import { startNewEpoch } from '../epoch/epoch.ts'
import { retireJobs } from '../jobs/retire-jobs.ts'
import { buildRegistry } from '../kek/registry.ts'
import type { StoreExchange } from '../store/staging.ts'
import type { Store } from '../store/store.ts'
import { createBackup } from './create-backup.ts'
import type { BackupParts } from './parts.ts'
import { type StageInput, stageBundle } from './stage-bundle.ts'

export interface RestoreInput extends StageInput {
  /** Take no backup of the present first. The present is kept aside in any case, for `restore undo`. */
  skipSafetyBundle: boolean
}

export interface RestoreStage {
  stage: string
  durationMs: number
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
  stages: RestoreStage[]
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
    await retireJobs(staged.store, ['running'], 'interrupted: the database was restored from a backup', parts.clock.now())
    const epoch = await startNewEpoch(staged.store, hostActor, input.bundle, parts.clock.now())
    const certificates = await staged.store.count('certificates')
    await staged.store.close()
    await parts.host.stageFiles(id, staged.files)

    const warnings: string[] = []
    parts.progress({ phase: 'saving the present' })
    const safetyBundle = input.skipSafetyBundle ? '' : await saveThePresent(parts, warnings, signal)
    clock.end('save the present')
    await parts.host.writeJournal({
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
    if (before !== undefined) await forgetRestore(parts, exchange, before.id)
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

/** Finishes a cut-over that a crash interrupted. The service does this before it opens its database. */
export async function resumeRestore(parts: BackupParts): Promise<void> {
  const journal = await parts.host.readJournal()
  if (journal?.phase === 'undoing') return finishUndo(parts)
  if (journal?.phase !== 'cutting-over') return
  await using exchange = await parts.openExchange()
  await exchange.cutOver(journal.id)
  await parts.host.swapFiles(journal.id)
  await parts.host.writeJournal({ ...journal, phase: 'live' })
}

/** Puts back what was there before the last restore. @throws AppError `not-found` there was none, or it was undone · `locked` */
export async function undoRestore(parts: BackupParts): Promise<string> {
  using _restoring = await parts.locks.hold('restore')
  using _stopped = await parts.locks.hold('serve')
  await resumeRestore(parts)
  const journal = await parts.host.readJournal()
  if (journal?.phase !== 'live') {
    throw new AppError('not-found', 'there is no restore to undo', {
      hint: 'every restore takes a safety bundle first; "backup list" shows it',
    })
  }
  await refuseLiveServices(parts)
  await parts.host.writeJournal({ ...journal, phase: 'undoing' })
  await finishUndo(parts)
  return journal.bundle
}

async function finishUndo(parts: BackupParts): Promise<void> {
  const journal = await parts.host.readJournal()
  if (journal === undefined) return
  await using exchange = await parts.openExchange()
  await exchange.goBack(journal.id)
  await parts.host.swapFilesBack(journal.id)
  await parts.host.writeJournal({ ...journal, phase: 'undone' })
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
      throw new AppError('preflight', `the service is running: ${live.map((beat) => `"${beat._id}"`).join(', ')}`, {
        hint: 'stop it everywhere; one that was killed counts as gone after 30 seconds',
      })
    }
  } catch (error) {
    if (isAppError(error, 'preflight')) throw error
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
  if (store === undefined) return ''
  try {
    await store.prepare(parts.collections)
    const isEmpty = (await store.count('users')) === 0 && (await store.count('certificates')) === 0
    return isEmpty ? '' : (await createBackup(parts, store, signal)).name
  } catch (error) {
    if (signal.aborted) throw error
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
    if (journal?.id === id) await parts.host.writeJournal({ ...journal, phase: 'undoing' })
    await finishUndo(parts)
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

class StageClock {
  readonly stages: RestoreStage[] = []
  #started = performance.now()

  end(stage: string): void {
    const now = performance.now()
    this.stages.push({ stage, durationMs: now - this.#started })
    this.#started = now
  }
}
