import { recipientOf } from '../bundle/age-keys.ts'
import { AppError } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import { newestBundle } from './catalogue.ts'
import type { BackupParts, StandingRecord } from './parts.ts'
import { type Verification, verifyBackup } from './verify-backup.ts'

/**
 * Opens a bundle, the newest if none is named, with the identity of a person, and writes down that it was done: nothing else shows that a kit is not lost,
 * or for other bundles.
 * @throws AppError `wrong-identity` it is nobody's to whom bundles are sealed · `nothing-verified` the bundle is not sealed · as `verifyBackup`
 */
export async function proveRecovery(
  parts: BackupParts,
  name?: string,
): Promise<{ bundle: string; envelopes: Verification['envelopes'] }> {
  const identities = await parts.host.identities()
  const people = parts.config['backup.recipients']
  const recipients = await Promise.all(identities.map(recipientOf))
  const proven = recipients.filter((recipient) => people.includes(recipient))
  if (proven.length === 0) {
    throw new AppError('wrong-identity', 'this is none of the identities that bundles are sealed to for people', {
      hint: 'backup.recipients in config.yaml lists their recipients; the recovery kit holds the identity',
    })
  }
  const bundle = name ?? newestBundle(await parts.catalogue.list())
  const { sidecar } = await parts.catalogue.open(bundle)
  if (
    sidecar !== undefined &&
    sidecar.artefact.recipients.length > 0 &&
    !proven.some((own) => sidecar.artefact.recipients.includes(own))
  )
    throw new AppError('wrong-identity', `"${bundle}" was sealed before this kit was added`, {
      hint: 'run "certautopilot backup create", then test the kit again',
    })
  const { isSealed, envelopes } = await verifyBackup(parts, { bundle, level: 'full', identities, acceptForeign: false })
  if (!isSealed) throw new AppError('nothing-verified', `"${bundle}" is not sealed, so opening it proves nothing`)
  const now = parts.clock.now().toISOString()
  await parts.catalogue.addState(bundle, () => ({ verified_at: now, verified_level: 'full', recovery_proven_at: now }))
  // The bundle goes one day, and the proof stays.
  const proofs = Object.fromEntries(proven.map((recipient) => [recipient, now]))
  await parts.standing.change((before) => ({ ...before, proven: { ...before.proven, ...proofs } }))
  return { bundle, envelopes }
}

const currentForMs = 365 * dayMs

export interface RecoveryProof {
  /** When an identity that bundles are sealed to now last opened one; null when none did. */
  at: string | null
  /** A kit that lay in a safe for a year may be gone. */
  isCurrent: boolean
}

export function recoveryProof({ proven }: StandingRecord, people: readonly string[], now: Date): RecoveryProof {
  const at =
    people
      .flatMap((recipient) => proven[recipient] ?? [])
      .sort()
      .at(-1) ?? null
  return { at, isCurrent: at !== null && now.getTime() - Date.parse(at) <= currentForMs }
}
