import type { Manifest, SignedManifest } from '../bundle/manifest.ts'
import type { BundleFile } from '../bundle/write-bundle.ts'
import { AppError } from '../core/app-error.ts'

/** The file beside a bundle: its signed manifest and the digest of the bundle itself. Names nothing secret. */
export interface Sidecar extends SignedManifest {
  artefact: { name: string; bytes: number; sha256: string; recipients: string[] }
  /** By the same signer, over `artefact`. */
  artefact_signature: string
}

export type VerifyLevel = 'quick' | 'full'

/** Somebody wants to keep a bundle. */
export interface BundlePin {
  reason: string
  /** ISO 8601; null for ever. */
  until: string | null
  by: string
}

/** Somebody has looked at a suspect bundle and found that it holds what it should. */
export interface BundleAcceptance {
  reason: string
  by: string
  at: string
}

/** What was found out about a bundle after it was published. */
export interface BundleState {
  verified_at?: string
  verified_level?: VerifyLevel
  /** How long it took to take it, ms. */
  duration_ms?: number
  /** When it last failed a verification, and why; gone after a success. */
  failed_at?: string | undefined
  failure?: string | undefined
  /** When the recovery identity last opened it. */
  recovery_proven_at?: string
  pin?: BundlePin | undefined
  accepted?: BundleAcceptance
  /** Copies that were read back, by target. */
  copies?: Record<string, { at: string; bytes: number; sha256: string }>
}

export interface CatalogueEntry {
  name: string
  bytes: number
  /** Missing for a bundle that came from elsewhere without it. */
  sidecar: Sidecar | undefined
  state: BundleState
  isDamaged: boolean
  /** At a target it was removed or overwritten, but a version is left, which can be restored. */
  isRemoved?: boolean
}

export interface WrittenFile {
  bytes: number
  sha256: string
}

/** Ends with what is written; throws AppError `failed` when that is given up. */
export interface GrowingFile extends AsyncDisposable {
  bytes: AsyncIterable<Buffer>
}

/** A bundle that is being written. Nothing of it is seen until it is published. */
export interface Draft extends BundleFile, AsyncDisposable {
  /** What is written at `position` and behind it, while it grows; also when the bundle has got its name. */
  follow(position: number): Promise<GrowingFile>
  /** Syncs, reads everything back and compares. @throws AppError `failed` */
  finish(): Promise<WrittenFile>
  /** Gives the bundle its final name, after its sidecar and what is known of it stand there: whenever it is killed, it is whole or nothing. */
  publish(name: string, sidecar: Sidecar, state: BundleState): Promise<void>
  /** Keeps it as `NAME.damaged`, with a list of what is wrong beside it. */
  keepDamaged(name: string, report: object): Promise<void>
}

/** The local folder of bundles. */
export interface Catalogue {
  readonly directory: string
  startDraft(): Promise<Draft>
  /** Newest first, damaged ones last. */
  list(): Promise<CatalogueEntry[]>
  /** A bundle by name, or by path when it lies elsewhere. @throws AppError `not-found` */
  open(nameOrPath: string): Promise<{ name: string; bytes: number; sidecar: Sidecar | undefined; read(): AsyncIterable<Buffer> }>
  /** Adds to what is known of a bundle; one process at a time does. */
  addState(name: string, state: (before: BundleState) => BundleState): Promise<void>
  /** Removes a bundle and everything beside it. */
  remove(name: string): Promise<void>
}

const bundlePattern = /^certautopilot-backup-(\d{8}-\d{6})\.tar\.(age|gz)$/

/** When a bundle was taken, by its name (UTC); undefined for what is none. */
export function bundleStamp(name: string): string | undefined {
  return name.match(bundlePattern)?.[1]
}

export function bundleName(stamp: string, isSealed: boolean): string {
  return `certautopilot-backup-${stamp}.tar.${isSealed ? 'age' : 'gz'}`
}

/** Whether another installation has made it; what does not say so may be ours. */
export function isOfAnother(sidecar: Sidecar | undefined, installationId: string | undefined): boolean {
  return sidecar !== undefined && installationId !== undefined && sidecar.manifest.installation_id !== installationId
}

/** Why somebody should look at a bundle before trusting it; empty when there is nothing, or somebody did. */
export function suspicionOf({ sidecar, state }: CatalogueEntry): string {
  return state.accepted === undefined ? (sidecar?.manifest.suspect ?? '') : ''
}

/** What `certificates` and so on hold, by collection. */
export function countsOf(manifest: Manifest): Record<string, number> {
  return Object.fromEntries(manifest.collections.map(({ name, count }) => [name, count]))
}

/** How much the dumped documents are, in bytes. */
export function bytesOf(manifest: Manifest): number {
  return manifest.collections.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** The name of the newest bundle that nothing is known against. @throws AppError `not-found` · `nothing-verified` */
export function newestBundle(entries: readonly CatalogueEntry[]): string {
  const entry = entries.find((candidate) => !candidate.isDamaged && candidate.state.failed_at === undefined)
  if (entry !== undefined) return entry.name
  if (entries.length > 0) throw new AppError('nothing-verified', `none of the ${entries.length} bundles there is good`)
  throw noBundle()
}

/** The name of the newest bundle that was published, also when it has failed since: whoever asks again hears it again. @throws AppError `not-found` */
export function newestPublished(entries: readonly CatalogueEntry[]): string {
  const names = entries.map(({ name }) => name).filter((name) => !name.endsWith('.damaged'))
  const newest = names.sort().at(-1)
  if (newest === undefined) throw noBundle()
  return newest
}

function noBundle(): AppError {
  return new AppError('not-found', 'there is no bundle yet', { hint: 'run "certautopilot backup create"' })
}
