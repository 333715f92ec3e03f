import { AppError } from '../core/app-error.ts'
import type { StoreExchange } from '../store/staging.ts'
import type { BackupParts, RestoreJournal } from './parts.ts'

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

export function databaseOf({ config }: BackupParts): string {
  return `${config['database.engine']} database "${config['database.name']}"`
}

async function finishCutOver(parts: BackupParts, journal: RestoreJournal): Promise<void> {
  await using exchange = await parts.openExchange()
  await exchange.cutOver(journal.id)
  await parts.host.swapFiles(journal.id)
  await parts.host.writeJournal({ ...journal, phase: 'live' })
}

/** What was undone is removed only once the journal says that it is. */
export async function finishUndo(parts: BackupParts, journal: RestoreJournal): Promise<void> {
  await using exchange = await parts.openExchange()
  await exchange.goBack(journal.id)
  await parts.host.swapFilesBack(journal.id)
  await parts.host.writeJournal({ ...journal, phase: 'undone' })
  await forgetRestore(parts, exchange, journal.id)
}

/** Only the last restore can be undone; what was kept for the one before goes. */
export async function forgetRestore(parts: BackupParts, exchange: StoreExchange, id: string): Promise<void> {
  await exchange.forget(id)
  await parts.host.forgetFiles(id)
}
