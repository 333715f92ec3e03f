import { isAppError, messageOf } from '../core/app-error.ts'
import type { BundleState, VerifyLevel } from './catalogue.ts'
import type { BackupParts } from './parts.ts'
import { type Verification, verifyBackup } from './verify-backup.ts'

/** Verifies a bundle and, when it is one of the backup folder, remembers what was found. @throws as `verifyBackup` */
export async function verifyListed(
  parts: BackupParts,
  input: { bundle: string; level: VerifyLevel; acceptForeign: boolean },
): Promise<Verification> {
  const isListed = !input.bundle.includes('/') && parts.source === parts.catalogue
  const remember = async (state: BundleState) => {
    if (isListed) await parts.catalogue.addState(input.bundle, () => state)
  }
  const identities = await parts.host.identities()
  const result = await verifyBackup(parts, { ...input, identities }).catch(async (error) => {
    if (isBadBundle(error)) await remember({ failed_at: new Date().toISOString(), failure: messageOf(error) })
    throw error
  })
  // A quick look does not see what a full one has found.
  if (input.level === 'full')
    await remember({
      verified_at: new Date().toISOString(),
      verified_level: input.level,
      failed_at: undefined,
      failure: undefined,
    })
  return result
}

/** The bundle itself is at fault, not the identity or the command. */
export function isBadBundle(error: unknown): boolean {
  const codes = ['verification-failed', 'nothing-verified', 'keys-do-not-fit', 'corrupt']
  return isAppError(error) && (codes.includes(error.code) || error.code.startsWith('archive-'))
}
