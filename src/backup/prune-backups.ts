import { AppError } from '../core/app-error.ts'
import { type BundlePin, type CatalogueEntry, suspicionOf } from './catalogue.ts'
import { type BackupParts, ownInstallation } from './parts.ts'
import { planRetention, type RetentionPlan, type RetentionRules } from './retention.ts'

/** What would stay and go now. Of several values of "keep every bundle younger than N days" that are in force here the longest counts. */
export async function previewPrune(parts: BackupParts): Promise<RetentionPlan> {
  return planRetention(await parts.catalogue.list(), await rulesOf(parts), parts.clock.now())
}

/**
 * Removes the bundles that no rule keeps. One that cannot be removed does not keep the others.
 * @returns the names of those that are gone
 * @throws AppError `locked` a backup runs · `preflight` something looks wrong, so nothing was removed · `failed` some could not be removed
 */
export async function pruneBackups(parts: BackupParts): Promise<string[]> {
  using _lock = await parts.locks.hold('backup')
  const { verdicts, stopped } = await previewPrune(parts)
  if (stopped !== '')
    throw new AppError('preflight', `nothing was removed: ${stopped}`, { hint: '"certautopilot backup prune --dry-run" shows why' })
  const removed: string[] = []
  const failures: string[] = []
  for (const { entry, isKept } of verdicts) {
    if (isKept) continue
    await parts.catalogue.remove(entry.name).then(
      () => removed.push(entry.name),
      (error: Error) => failures.push(`${entry.name}: ${error.message}`),
    )
  }
  if (failures.length > 0)
    throw new AppError('failed', `${failures.length} bundles could not be removed: ${failures.join('; ')}`, {
      hint: 'look at the owner and the mode of the backup folder',
    })
  return removed
}

/** Keeps a bundle whatever the rules say. @throws AppError `not-found` · `usage` it would have ended already */
export async function pinBackup(parts: BackupParts, name: string, pin: BundlePin): Promise<void> {
  if (pin.until !== null && Date.parse(pin.until) <= parts.clock.now().getTime())
    throw new AppError('usage', `a pin until ${pin.until.slice(0, 10)} would have ended already`)
  await requireListed(parts, name)
  await parts.catalogue.addState(name, () => ({ pin }))
}

/**
 * Takes a suspect bundle for what it should be: the next ones are compared with it, and retention goes on.
 * @throws AppError `not-found` · `usage` nothing is suspect about it
 */
export async function acceptBackup(parts: BackupParts, name: string, reason: string, by: string): Promise<void> {
  const entry = await requireListed(parts, name)
  if (suspicionOf(entry) === '') throw new AppError('usage', `"${name}" is not suspect: there is nothing to accept`)
  await parts.catalogue.addState(name, () => ({ accepted: { reason, by, at: parts.clock.now().toISOString() } }))
}

/** @throws AppError `not-found` */
export async function unpinBackup(parts: BackupParts, name: string): Promise<void> {
  await requireListed(parts, name)
  await parts.catalogue.addState(name, () => ({ pin: undefined }))
}

async function requireListed({ catalogue }: BackupParts, name: string): Promise<CatalogueEntry> {
  const found = (await catalogue.list()).find((entry) => entry.name === name)
  if (found !== undefined) return found
  throw new AppError('not-found', `there is no bundle "${name}" in "${catalogue.directory}"`, {
    hint: '"certautopilot backup list" shows them',
  })
}

async function rulesOf(parts: BackupParts): Promise<RetentionRules> {
  const { config, standing } = parts
  return {
    daily: config['backup.keep_daily'],
    weekly: config['backup.keep_weekly'],
    monthly: config['backup.keep_monthly'],
    least: config['backup.keep_least'],
    days: await standing.agreeRetainDays(config['backup.retain_days']),
    timeZone: config['backup.time_zone'],
    installationId: await ownInstallation(parts),
  }
}
