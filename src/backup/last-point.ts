import type { Manifest } from '../bundle/manifest.ts'
import type { Change, CollectionSpec, Store, StoredDocument } from '../store/store.ts'
import { type CatalogueEntry, countsOf } from './catalogue.ts'
import type { BackupParts } from './parts.ts'
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
type BackupPointRecord = BackupPoint & StoredDocument

export const backupCollections: CollectionSpec[] = [{ name: 'backup_points', indexes: [] }]

export async function pointRecorded(store: Store, bundle: string, manifest: Manifest): Promise<Change> {
  const document: BackupPointRecord = { _id: 'last', ...pointOf(bundle, manifest) }
  const isThere = (await store.get('backup_points', 'last')) !== undefined
  return isThere ? { replace: 'backup_points', document } : { insert: 'backup_points', document }
}

/**
 * The newest good backup: of the bundles of this host, or taken by another one. What is from the future was taken by a clock that was
 * wrong, and says nothing about when.
 */
export async function lastPoint({ catalogue, clock }: BackupParts, store: Store): Promise<BackupPoint | undefined> {
  const recorded = await store.get<BackupPointRecord>('backup_points', 'last')
  const here = (await catalogue.list()).filter(isVerified).map(entryPoint)
  const latest = clock.now().getTime() + skewMs
  return [...here, ...(recorded === undefined ? [] : [recorded])]
    .filter(({ taken_at }) => taken_at.getTime() <= latest)
    .reduce<BackupPoint | undefined>(
      (last, point) => (last !== undefined && last.taken_at >= point.taken_at ? last : point),
      undefined,
    )
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
