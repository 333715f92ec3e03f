import { AppError, isAppError } from '../core/app-error.ts'
import type { Clock } from '../core/clock.ts'
import { type CollectionSpec, findAll, type Store, type StoredDocument } from '../store/store.ts'
import type { KekInstall, KekVersion } from './collections.ts'
import { type Envelope, type EnvelopePlace, openEnvelope, sealEnvelope } from './envelope.ts'
import type { KeyProvider } from './key-provider.ts'
import { type KeySet, keyMismatch } from './mismatch.ts'

/** The keys of a database that was checked against them: seals with the active version, opens every version. */
export interface KekRegistry {
  readonly installationId: string
  readonly activeVersion: number
  readonly provider: KeyProvider
  seal(place: EnvelopePlace, plaintext: Buffer): Envelope
  /** @throws AppError `keys-do-not-fit` · `verification-failed` */
  open(place: EnvelopePlace, envelope: Envelope): Buffer
}

export interface RegistryParts {
  store: Store
  provider: KeyProvider
  clock: Clock
  /** Collections whose documents hold envelopes. */
  collections: readonly CollectionSpec[]
}

/**
 * The start-up check: takes the `kek_install` lock of a new database, compares fingerprints, and opens one envelope per KEK version.
 * @param installationId whose secrets these are, if they say so; a new database gets it
 * @throws AppError `keys-do-not-fit` "KEK fingerprint mismatch", with the older side as hint · `verification-failed` a sample does not open
 */
export async function buildRegistry(parts: RegistryParts, installationId: string | undefined): Promise<KekRegistry> {
  const registry = await matchKeys(parts, installationId)
  for (const { version } of await kekVersions(parts.store)) await openSample(parts, version)
  return registry
}

/** The part of the check that one broken record cannot fail: lock, fingerprints, and the canary of each version. */
export async function matchKeys(parts: RegistryParts, installationId: string | undefined): Promise<KekRegistry> {
  const install = await takeInstallLock(parts, installationId)
  const { provider } = parts
  if (install.provider !== provider.name) {
    throw new AppError(
      'keys-do-not-fit',
      `the database is locked to KEK provider "${install.provider}", configured is "${provider.name}"`,
      {
        hint: 'set encryption.provider back; a change of provider is a restore with re-wrapping',
      },
    )
  }
  const versions = await kekVersions(parts.store)
  const mismatch = keyMismatch(
    { installationId: install.installation_id, fingerprints: new Map(versions.map((known) => [known.version, known.fingerprint])) },
    keysAtHand(provider, installationId),
  )
  if (mismatch !== undefined) throw mismatch
  for (const { version, canary } of versions) openEnvelope(provider, canaryPlace(version), canary)

  const active = versions.find((known) => known.state === 'active')
  if (active === undefined) throw new AppError('keys-do-not-fit', 'the database names no active KEK version')
  return {
    installationId: install.installation_id,
    activeVersion: active.version,
    provider,
    seal: (place, plaintext) => sealEnvelope(provider, active.version, place, plaintext),
    open: (place, envelope) => openEnvelope(provider, place, envelope),
  }
}

export function keysAtHand(provider: KeyProvider, installationId: string | undefined): KeySet {
  return { installationId, fingerprints: new Map(provider.versions.map((version) => [version, provider.fingerprint(version)])) }
}

/** The versions that a database knows, ascending. */
export async function kekVersions(store: Store): Promise<KekVersion[]> {
  const versions = await Array.fromAsync(findAll<KekVersion>(store, 'kek_versions'))
  return versions.sort((a, b) => a.version - b.version)
}

/** Of several processes that start on a new database, one writes the lock; the others find it. */
async function takeInstallLock(parts: RegistryParts, installationId: string | undefined): Promise<KekInstall> {
  const existing = await parts.store.get<KekInstall>('kek_install', 'install')
  if (existing !== undefined) return existing
  const { provider, clock } = parts
  const version = provider.versions.at(-1) as number
  const created_at = clock.now()
  const install: KekInstall = {
    _id: 'install',
    installation_id: installationId ?? crypto.randomUUID(),
    provider: provider.name,
    created_at,
  }
  const first: KekVersion = {
    _id: String(version),
    version,
    provider: provider.name,
    fingerprint: provider.fingerprint(version),
    state: 'active',
    canary: sealEnvelope(provider, version, canaryPlace(version), Buffer.from('certautopilot')),
    created_at,
  }
  try {
    await parts.store.commit([
      { insert: 'kek_install', document: install },
      { insert: 'kek_versions', document: first },
    ])
    return install
  } catch (error) {
    const winner =
      isAppError(error, 'exists') || isAppError(error, 'conflict')
        ? await parts.store.get<KekInstall>('kek_install', 'install')
        : undefined
    if (winner === undefined) throw error
    return winner
  }
}

async function openSample(parts: RegistryParts, version: number): Promise<void> {
  for (const { name, envelopes = [] } of parts.collections) {
    if (envelopes.length === 0 || name === 'kek_versions') continue
    const page = await parts.store.find<StoredDocument & Record<string, Envelope>>(name, {
      where: { kek_version: version },
      limit: 1,
    })
    const sample = page.items[0]
    if (sample === undefined) continue
    for (const field of envelopes)
      openEnvelope(parts.provider, { collection: name, recordId: sample._id, field }, sample[field] as Envelope)
  }
}

function canaryPlace(version: number): EnvelopePlace {
  return { collection: 'kek_versions', recordId: String(version), field: 'canary' }
}
