import { hostActor } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { type Epoch, enterSafeMode } from '../epoch/epoch.ts'
import type { BackupParts } from './parts.ts'
import { refuseLiveServices, saveThePresent, withPresent } from './present.ts'
import { finishUndo, resumeRestore } from './resume-restore.ts'

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

async function hasBeenReleased(parts: BackupParts): Promise<boolean> {
  const state = await withPresent(parts, (store) => store.get<Epoch>('epochs', 'state'))
  return state?.safe_mode === false
}
