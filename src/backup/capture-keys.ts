import { signerOf } from '../bundle/manifest.ts'
import { whyUnreadable } from '../bundle/read-bundle.ts'
import type { Member } from '../bundle/write-bundle.ts'
import { AppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { matchKeys } from '../kek/registry.ts'
import type { Store } from '../store/store.ts'
import type { BackupParts, CapturedKeys } from './parts.ts'

interface Captured {
  members: Member[]
  keys: CapturedKeys
  signingKey: Secret
}

/** The keys that go into the bundle, not the ones in memory, must fit the database. */
export async function captureKeys(parts: BackupParts, store: Store): Promise<Captured> {
  const members = await captureMembers(parts)
  const keys = parts.keysIn(secretsOf(members))
  const signingKey = requireSigningKey(keys)
  await matchKeys({ store, provider: keys.provider, clock: parts.clock, collections: parts.collections }, keys.installationId)
  return { members, keys, signingKey }
}

async function captureMembers(parts: BackupParts): Promise<Member[]> {
  const members = [{ name: 'secrets.env', content: await parts.secretStore.capture() }, ...(await parts.host.members())]
  const problem = whyUnreadable(members)
  if (problem !== undefined)
    throw new AppError('preflight', `a bundle with these files could not be read back: ${problem}`, {
      hint: 'look into the folder tls/ of this installation',
    })
  return members
}

export function secretsOf(members: Member[]): Buffer {
  return (members[0] as Member).content
}

/** A service cannot start without them, so a bundle without them could not be restored. @throws AppError `config` */
function requireSigningKey(keys: CapturedKeys): Secret {
  if (keys.missing.length > 0) {
    throw new AppError(
      'config',
      `${keys.missing.map((name) => `"${name}"`).join(', ')} missing in the secrets: what is restored from this could not start`,
      {
        hint: 'put back what was there; "certautopilot setup" makes new ones, which ends sessions, API keys and the audit chain',
      },
    )
  }
  if (keys.signingKey === undefined) {
    throw new AppError('config', '"CERTAUTOPILOT_SIGNING_KEY" is missing: the manifest cannot be signed', {
      hint: 'run "certautopilot setup", which adds what is missing in secrets.env',
    })
  }
  signerOf(keys.signingKey)
  return keys.signingKey
}
