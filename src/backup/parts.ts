import type { Member } from '../bundle/write-bundle.ts'
import type { Config } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Secret } from '../core/secret.ts'
import type { KeyProvider } from '../kek/key-provider.ts'
import type { EnvelopeOpener } from '../kek/open-envelopes.ts'
import type { SecretStore } from '../secret-store/secret-store.ts'
import type { StoreExchange } from '../store/staging.ts'
import type { CollectionSpec, Store } from '../store/store.ts'
import type { Target, TargetLocation } from '../target/target.ts'
import type { Catalogue } from './catalogue.ts'
import type { DrillReport, SignedDrillReport } from './drill-report.ts'

export interface Progress {
  phase: string
  bytesDone?: number
  bytesTotal?: number
}

/** What a `secrets.env` holds, made usable. */
export interface CapturedKeys {
  provider: KeyProvider
  installationId: string | undefined
  signingKey: Secret | undefined
  drillPassword: Secret | undefined
  /** Names of secrets that a service needs and that are not there. */
  missing: string[]
}

/** What backing up, verifying, restoring and drilling need. */
export interface BackupParts {
  appVersion: string
  clock: Clock
  config: Config
  collections: readonly CollectionSpec[]
  catalogue: Catalogue
  /** Where bundles are read that are listed, verified, drilled or restored: the same, or a target. */
  source: Catalogue
  standing: Standing
  secretStore: SecretStore
  /** @throws AppError `config` */
  keysIn(secretsContent: Buffer): CapturedKeys
  openEnvelopes(secretsContent: Buffer): Promise<EnvelopeOpener>
  locks: {
    /** @throws AppError `locked` another run has it */
    hold(name: 'backup' | 'targets' | 'restore' | 'drill' | 'serve' | 'admin-socket'): Promise<Disposable>
  }
  host: HostFiles
  /** Where copies of bundles go. */
  targets: readonly TargetAccess[]
  /** Tells the watcher elsewhere, if there is one, that a backup is whole. @throws AppError `unreachable` · `forbidden` */
  sendHeartbeat(): Promise<void>
  /** Whether the timer of systemd takes backups of this host. */
  isTimerArmed(): boolean
  openDrillGround(): Promise<DrillGround>
  drills: {
    save(report: SignedDrillReport): Promise<void>
    /** Newest first. */
    list(): Promise<SignedDrillReport[]>
  }
  openStore(): Promise<Store>
  openExchange(): Promise<StoreExchange & AsyncDisposable>
  progress(progress: Progress): void
}

export async function ownInstallation({ keysIn, secretStore }: BackupParts): Promise<string | undefined> {
  return keysIn(await secretStore.capture()).installationId
}

/** How the last attempt to bring a target its copies went. */
export interface TargetStanding {
  tried_at: string
  /** Empty when it went well. */
  error: string
  /** When it last had everything; empty when it never did. */
  whole_at: string
}

export interface StandingRecord {
  targets: Record<string, TargetStanding>
  /** How often retention failed on this host. */
  retention_failures: number
  /** When the identity of each recipient last opened a bundle. */
  proven: Record<string, string>
}

/** What runs of this host have found out, for whoever looks later. */
export interface Standing {
  read(): Promise<StandingRecord>
  change(next: (before: StandingRecord) => StandingRecord): Promise<void>
  /**
   * Writes down for how many days this caller keeps every bundle. @returns the most that any caller of the last days has asked for: the
   * settings of a timer are not undone by those of the service
   */
  agreeRetainDays(days: number): Promise<number>
}

export interface TargetAccess {
  location: TargetLocation
  /** @throws AppError `unreachable` */
  open(): Promise<Target>
}

/** A place of its own for a drill, removed with everything in it. */
export interface DrillGround extends AsyncDisposable {
  openExchange(): Promise<StoreExchange & AsyncDisposable>
  host: HostFiles
  /** Boots the real server on what was put here, cut off from the network. @throws AppError `failed` it did not become ready */
  boot(signal: AbortSignal): Promise<DrillServer>
}

export interface DrillServer extends AsyncDisposable {
  readonly isolation: DrillReport['isolation']
  /** Sends a request as the drill's user would. @throws AppError as the server answered */
  request(method: 'GET' | 'POST', path: string, body?: unknown): Promise<string>
}

/** Files of this host that belong into a bundle, or come out of one. */
export interface HostFiles {
  /** `config.yaml`, `mongo-root.env` and `tls/`, as far as they exist. Links are followed. @throws AppError `preflight` */
  members(): Promise<Member[]>
  /** The recipient whose identity this host keeps; made when there is none. */
  hostRecipient(): Promise<string>
  /** Identities that this host has. */
  identities(): Promise<Secret[]>
  /** Signers of bundles that this host trusts: its own key and the one on a recovery kit at hand. */
  signers(): Promise<string[]>
  /** A file that only this user reads; whole, or not there. */
  writePrivateFile(path: string, content: string): Promise<void>
  /** Writes `backup.recipients` into `config.yaml`, and leaves everything else in it as it is. @throws AppError `config` */
  writeRecipients(recipients: readonly string[]): Promise<void>
  stageFiles(id: string, files: ReadonlyMap<string, Buffer>): Promise<void>
  swapFiles(id: string): Promise<void>
  swapFilesBack(id: string): Promise<void>
  /** Removes what was kept for undoing this restore. */
  forgetFiles(id: string): Promise<void>
  readJournal(): Promise<RestoreJournal | undefined>
  writeJournal(journal: RestoreJournal): Promise<void>
}

/** Where a restore stands, so that it can go on after a crash. */
export interface RestoreJournal {
  id: string
  bundle: string
  phase: 'cutting-over' | 'live' | 'undoing' | 'undone'
  safety_bundle: string
  started_at: string
  /** Which database it is about: a shell with other settings must not finish it. */
  database: string
}
