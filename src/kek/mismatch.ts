import { AppError } from '../core/app-error.ts'
import { plural } from '../core/units.ts'

/** KEK versions and fingerprints of one side, and whose they are. */
export interface KeySet {
  installationId: string | undefined
  fingerprints: ReadonlyMap<number, string>
}

/**
 * Whether the keys at hand can open a database, or an error that names the older side.
 * Keys that the database does not know yet are fine: they wait for a rotation.
 * @returns undefined when they fit
 */
export function keyMismatch(database: KeySet, secrets: KeySet): AppError | undefined {
  const missing = [...database.fingerprints].filter(([version, fingerprint]) => secrets.fingerprints.get(version) !== fingerprint)
  if (missing.length === 0) return undefined
  return new AppError(
    'keys-do-not-fit',
    `KEK fingerprint mismatch: the database was written with ${described(database)}, the secrets hold ${described(secrets)}`,
    {
      hint: relation(database, secrets),
      details: { database: Object.fromEntries(database.fingerprints), secrets: Object.fromEntries(secrets.fingerprints) },
    },
  )
}

function described(keys: KeySet): string {
  const list = [...keys.fingerprints].map(
    ([version, fingerprint]) => `v${version} (${fingerprint.slice(0, 4)} ${fingerprint.slice(4, 8)})`,
  )
  return list.length === 0 ? 'no KEK' : list.join(', ')
}

function relation(database: KeySet, secrets: KeySet): string {
  const knownPrints = new Set(secrets.fingerprints.values())
  const shared = [...database.fingerprints.values()].filter((fingerprint) => knownPrints.has(fingerprint)).length
  const sameOwner = database.installationId !== undefined && database.installationId === secrets.installationId
  if (shared === 0 && !sameOwner) {
    return 'the two are unrelated: these secrets belong to another installation; use the secrets.env that was backed up with this database'
  }
  const [newestInDatabase, newestInSecrets] = [newest(database), newest(secrets)]
  if (newestInSecrets < newestInDatabase) {
    return 'the secrets are older than the database; use the secrets.env of the same backup, or one taken after it'
  }
  if (newestInSecrets > newestInDatabase) {
    return 'the database is older than the secrets, which lost a key it needs; add the old KEK to secrets.env, or restore a newer backup'
  }
  return `the same versions hold different keys (${plural(shared, 'key')} in common); use the secrets.env of the same backup`
}

function newest(keys: KeySet): number {
  return Math.max(0, ...keys.fingerprints.keys())
}
