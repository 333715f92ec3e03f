import type { AccessParts } from '../access/access.ts'
import type { BundlePin, CatalogueEntry } from '../backup/catalogue.ts'
import type { DrillReport } from '../backup/drill-report.ts'
import type { BackupPoint } from '../backup/last-point.ts'
import type { StandingRecord } from '../backup/parts.ts'
import type { RecoveryProof } from '../backup/prove-recovery.ts'
import type { RetentionPlan } from '../backup/retention.ts'
import type { TargetProbe } from '../backup/test-target.ts'
import type { CertificateParts } from '../certificates/parts.ts'
import type { Clock } from '../core/clock.ts'
import type { Secret } from '../core/secret.ts'
import type { DeployParts } from '../deploy/targets.ts'
import type { NotifyParts } from '../notify/channels.ts'
import type { Store } from '../store/store.ts'

/** What the resources need. */
export interface HttpParts {
  appVersion: string
  store: Store
  /** Everything that a request changes happens in here. @throws AppError `paused` a backup has quiesced the service */
  change<T>(work: () => Promise<T>): Promise<T>
  clock: Clock
  access: AccessParts
  certificates: CertificateParts
  notify: NotifyParts
  deploy: DeployParts
  auditSecret: Secret
  drillPassword: Secret
  /** The one-time token of first-run setup; empty when this host has none. */
  setupToken(): Promise<string>
  dropSetupToken(): Promise<void>
  /** @throws AppError `not-found` it is not on this host any more */
  recoveryKit(): Promise<{ kit: string; path: string }>
  backups(): Promise<CatalogueEntry[]>
  /** What is at a target now. @throws AppError `not-found` · `unreachable` */
  backupsAt(target: string): Promise<CatalogueEntry[]>
  /** How targets and retention fared last. */
  standing(): Promise<StandingRecord>
  recoveryProof(): Promise<RecoveryProof>
  /** The last good backup of this database, wherever it was taken. */
  lastPoint(): Promise<BackupPoint | undefined>
  /** Where copies of bundles go. */
  targets: readonly { name: string; kind: string; place: string }[]
  /** @throws AppError `not-found` · `unreachable` · `forbidden` */
  testTarget(name: string): Promise<TargetProbe & { findings: string[] }>
  /** What retention would keep and remove now. */
  retention(): Promise<RetentionPlan>
  pinBackup(name: string, pin: BundlePin | undefined): Promise<void>
  acceptBackup(name: string, reason: string, by: string): Promise<void>
  pruneBackups(): Promise<string[]>
  /** How often a backup should be taken; undefined when nothing plans them. */
  backupIntervalSeconds(): number | undefined
  drills(): Promise<DrillReport[]>
  /** When drills are overdue, in days. */
  drillIntervalDays: number
  /** Parts of the service that do not work, by name; empty when it is ready. */
  problems(): Promise<Record<string, string>>
  log: { warn(data: object, message: string): void; error(data: object, message: string): void }
}
