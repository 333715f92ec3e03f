import { recipientOf } from '../bundle/age-keys.ts'
import { AppError } from '../core/app-error.ts'
import { newestBundle } from './catalogue.ts'
import type { BackupParts } from './parts.ts'
import { type Verification, verifyBackup } from './verify-backup.ts'

/**
 * Opens the newest bundle with the identity of a person, and writes down that it was done: nothing else shows that a kit is not lost,
 * or for other bundles.
 * @throws AppError `wrong-identity` it is nobody's to whom bundles are sealed · `nothing-verified` the bundle is not sealed · as `verifyBackup`
 */
export async function proveRecovery(parts: BackupParts): Promise<{ bundle: string; envelopes: Verification['envelopes'] }> {
  const identities = await parts.host.identities()
  const people = parts.config['backup.recipients']
  const recipients = await Promise.all(identities.map(recipientOf))
  if (!recipients.some((recipient) => people.includes(recipient))) {
    throw new AppError('wrong-identity', 'this is none of the identities that bundles are sealed to for people', {
      hint: 'backup.recipients in config.yaml lists their recipients; the recovery kit holds the identity',
    })
  }
  const bundle = newestBundle(await parts.catalogue.list())
  const { isSealed, envelopes } = await verifyBackup(parts, { bundle, level: 'full', identities, acceptForeign: false })
  if (!isSealed) throw new AppError('nothing-verified', `"${bundle}" is not sealed, so opening it proves nothing`)
  const now = parts.clock.now().toISOString()
  await parts.catalogue.addState(bundle, () => ({ verified_at: now, verified_level: 'full', recovery_proven_at: now }))
  // The bundle goes one day, and the proof stays.
  await parts.standing.change((before) => ({ ...before, recovery_proven_at: now }))
  return { bundle, envelopes }
}
