import { hostname } from 'node:os'
import type { Manifest } from '../bundle/manifest.ts'
import { isAppError } from '../core/app-error.ts'
import type { Change, CollectionSpec, Store, StoredDocument } from '../store/store.ts'
import { type Catalogue, type CatalogueEntry, countsOf, isOfAnother } from './catalogue.ts'
import { type BackupParts, ownInstallation } from './parts.ts'
import { isVerified, skewMs } from './retention.ts'

/** What of a backup is compared with the present. */
export interface BackupPoint {
  bundle: string
  taken_at: Date
  authorities: number
  kek_versions: number
  active_kek: number
}

/** The last good backup of this database, whichever host took it; `_id` is `last`. */
interface BackupPointRecord extends BackupPoint, StoredDocument {
  /** Whose folder the bundle is in. */
  place: string
}

export const backupCollections: CollectionSpec[] = [{ name: 'backup_points', indexes: [] }]

const mostTries = 5

/** A host and its folder of bundles. */
export function placeOf({ directory }: Pick<Catalogue, 'directory'>): string {
  return `${hostname()} (${directory})`
}

/** Writes down that a good backup was taken, unless a newer one is known. */
export async function recordPoint(
  { clock, catalogue }: Pick<BackupParts, 'clock' | 'catalogue'>,
  store: Store,
  bundle: string,
  manifest: Manifest,
): Promise<void> {
  const document: BackupPointRecord = { _id: 'last', place: placeOf(catalogue), ...pointOf(bundle, manifest) }
  for (let tries = 1; ; tries++) {
    const known = await store.get<BackupPointRecord>('backup_points', 'last')
    if (known !== undefined && isPast(known, clock.now()) && known.taken_at >= document.taken_at) return
    const change: Change =
      known === undefined
        ? { insert: 'backup_points', document }
        : { replace: 'backup_points', document, expect: { taken_at: known.taken_at } }
    try {
      return await store.commit([change])
    } catch (error) {
      // Another host was faster: which of the two is newer is looked at again.
      const isRace = isAppError(error, 'exists') || isAppError(error, 'conflict')
      if (!isRace || tries === mostTries) throw error
    }
  }
}

/**
 * The newest good backup of this database: of the bundles here, or one that another host has taken. What this host took and has no more
 * does not count. What is from the future was taken by a clock that was wrong, and says nothing about when.
 */
export async function lastPoint(parts: BackupParts, store: Store): Promise<BackupPoint | undefined> {
  const { catalogue, clock } = parts
  const installationId = await ownInstallation(parts)
  const here = (await catalogue.list()).filter((entry) => isVerified(entry) && !isOfAnother(entry.sidecar, installationId))
  const recorded = await store.get<BackupPointRecord>('backup_points', 'last')
  const elsewhere = recorded === undefined || recorded.place === placeOf(catalogue) ? [] : [recorded]
  return [...here.map(entryPoint), ...elsewhere]
    .filter((point) => isPast(point, clock.now()))
    .reduce<BackupPoint | undefined>(
      (last, point) => (last !== undefined && last.taken_at >= point.taken_at ? last : point),
      undefined,
    )
}

function isPast({ taken_at }: BackupPoint, now: Date): boolean {
  return taken_at.getTime() <= now.getTime() + skewMs
}

function entryPoint({ name, sidecar }: CatalogueEntry): BackupPoint {
  return pointOf(name, sidecar?.manifest as Manifest)
}

function pointOf(bundle: string, manifest: Manifest): BackupPoint {
  const counts = countsOf(manifest)
  return {
    bundle,
    taken_at: new Date(manifest.point_in_time.taken_at),
    authorities: counts.certificate_authorities ?? 0,
    kek_versions: counts.kek_versions ?? 0,
    active_kek: manifest.kek.active_version,
  }
}
