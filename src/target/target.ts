import { dayMs } from '../core/clock.ts'

/** A place off this host where finished bundles are kept. Every method throws AppError `unreachable`, naming the target. */
export interface Target {
  readonly name: string
  /** Where it is, without anything secret. */
  readonly place: string
  /** Stores a file. It is seen under its name when it is whole, or not at all; where locks exist it cannot be removed before `lockedUntil`. */
  put(name: string, content: Content, lockedUntil?: Date): Promise<void>
  /** What is there. */
  list(): Promise<{ name: string; bytes: number }[]>
  /** @throws AppError `not-found` */
  open(name: string, version?: string): AsyncIterable<Buffer>
  /** Removes a file; one that is not there is no error. @throws AppError `forbidden` a lock or the credential does not allow it */
  remove(name: string): Promise<void>
  /** Every version that is left, newest first within a name, also of what was removed or overwritten. Only where there are any. */
  versions?(): Promise<FileVersion[]>
  /** Makes a lock last longer; one that lasts as long already stays. @throws AppError `forbidden` */
  extendLock?(name: string, until: Date): Promise<void>
  /** What this credential could do to what is there. */
  inspect?(): Promise<TargetInspection>
}

/** What a target is given to store. The head stands first and is taken last: what it says may be known only when all behind it is made. */
export interface Content {
  /** The size of the head, which may be 0. */
  headBytes: number
  head: Promise<Buffer>
  body: AsyncIterable<Buffer>
  /** Ends an upload that nobody wants any more, also while the target is silent. */
  signal?: AbortSignal
}

/** Content that is known in the order in which it stands. */
export function inOrder(body: AsyncIterable<Buffer>): Content {
  return { headBytes: 0, head: Promise.resolve(Buffer.alloc(0)), body }
}

export interface FileVersion {
  name: string
  bytes: number
  version: string
  /** It is what the name stands for now. */
  isCurrent: boolean
}

export interface TargetInspection {
  /** What is removed or overwritten stays as a version. */
  keepsVersions: boolean
  /** `forbidden`: nobody knows, as this credential may not. */
  canLock: boolean | 'forbidden'
  /** Whether this credential could remove a file in spite of a governance lock; undefined where that could not be tried. */
  canBypassLock: boolean | undefined
}

/** Names of uploads to a folder that are under way. */
export const uploadPrefix = '.new-'
const uploadPattern = /^\.new-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Whether an upload with this name and time of its last change was left by a run that was killed. */
export function isAbandoned(name: string, changedAt: number): boolean {
  return uploadPattern.test(name) && Date.now() - changedAt > 2 * dayMs
}

/** Names of what a test of a target leaves there. */
export const probePrefix = 'certautopilot-probe-'

/** How long bundles stay at a target, and whether they are locked. */
export interface TargetRules {
  daily: number
  weekly: number
  monthly: number
  /** Whether copies are locked for as long as their tier keeps them, and who could break the lock. */
  lockMode: 'none' | 'governance' | 'compliance'
  /** For how many days a copy is locked at first, instead of `daily`; 0 for that. */
  lockDays: number
}

export interface TargetLocation {
  name: string
  url: URL
  rules: TargetRules
  /** How long the other side may be silent. */
  silenceMs: number
}

/** Secrets of one target by name (`ACCESS_KEY_ID`, ...); what is missing comes from the platform. */
export type TargetSecrets = (name: string) => string | undefined
