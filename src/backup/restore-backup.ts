import { hostActor } from '../audit/audit.ts'
import { AppError, messageOf } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import { type Stage, StageClock } from '../core/stage-clock.ts'
import { type Epoch, startNewEpoch } from '../epoch/epoch.ts'
import { requeueJobs } from '../jobs/retire-jobs.ts'
import { buildRegistry } from '../kek/registry.ts'
import type { BackupParts } from './parts.ts'
import { refuseLiveServices, saveThePresent, withPresent } from './present.ts'
import { databaseOf, finishUndo, forgetRestore, resumeRestore } from './resume-restore.ts'
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

async function presentEpoch(parts: BackupParts): Promise<number> {
  const state = await withPresent(parts, (store) => store.get<Epoch>('epochs', 'state')).catch(() => undefined)
  return state?.epoch ?? 0
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
