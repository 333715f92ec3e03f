import { AppError, isAppError } from '../core/app-error.ts'
import type { Target, TargetRules } from '../target/target.ts'
import type { CatalogueEntry } from './catalogue.ts'
import { lockedUntil } from './lock-dates.ts'
import { type BackupParts, ownInstallation, type TargetAccess } from './parts.ts'
import { planRetention, type Verdict } from './retention.ts'
import { listTarget, sidecarName } from './target-catalogue.ts'

export interface TargetResult {
  target: string
  copied: string[]
  removed: string[]
  /** What went wrong; empty when nothing did. */
  error: string
  /** What a person should know although it is no failure. */
  note: string
}

export function addNote(result: TargetResult, note: string): void {
  result.note = [result.note, note].filter((one) => one !== '').join('; ')
}

/** A credential that may only add is as good: the target's own rules then remove what is old. */
export async function pruneTarget(
  parts: BackupParts,
  { location }: TargetAccess,
  target: Target,
  result: TargetResult,
): Promise<void> {
  const { daily, weekly, monthly } = location.rules
  const rules = {
    daily,
    weekly,
    monthly,
    least: parts.config['backup.keep_least'],
    days: 0,
    timeZone: parts.config['backup.time_zone'],
    installationId: await ownInstallation(parts),
  }
  const signers = await parts.host.signers()
  const there = await withAcceptances(parts, await listTarget(target, { signers }))
  const { verdicts, stopped } = planRetention(there, rules, parts.clock.now())
  await extendLocks(parts, { target, rules: location.rules, verdicts, result })
  if (stopped !== '') {
    addNote(result, `nothing was removed there: ${stopped}`)
    return
  }
  for (const { entry, isKept } of verdicts) {
    if (isKept) continue
    try {
      await target.remove(entry.name)
      await target.remove(sidecarName(entry.name))
      result.removed.push(entry.name)
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'forbidden') throw error
      addNote(result, `"${entry.name}" stays there: it is locked, or this credential may not remove`)
      return
    }
  }
}

/** What was said of a bundle on this host holds for its copies. */
async function withAcceptances({ catalogue }: BackupParts, there: readonly CatalogueEntry[]): Promise<CatalogueEntry[]> {
  const accepted = new Map((await catalogue.list()).flatMap(({ name, state }) => (state.accepted ? [[name, state.accepted]] : [])))
  return there.map((entry) => {
    const acceptance = accepted.get(entry.name)
    return acceptance === undefined ? entry : { ...entry, state: { ...entry.state, accepted: acceptance } }
  })
}

/** A bundle that turned out to be the one of its week or month is locked for as long as that is kept. */
async function extendLocks(
  { clock }: BackupParts,
  { target, rules, verdicts, result }: { target: Target; rules: TargetRules; verdicts: readonly Verdict[]; result: TargetResult },
): Promise<void> {
  if (target.extendLock === undefined || rules.lockMode === 'none') return
  for (const { entry, tiers } of verdicts) {
    const until = lockedUntil(entry, tiers, rules, clock.now())
    if (until === undefined || !tiers.some(({ period, isOver }) => isOver && period !== 'day')) continue
    try {
      for (const name of [entry.name, sidecarName(entry.name)]) await target.extendLock(name, until)
    } catch (error) {
      if (!isAppError(error, 'forbidden')) throw error
      addNote(result, 'locks were not extended: this credential lacks the right to (s3:PutObjectRetention)')
      return
    }
  }
}
