/** A place off this host where finished bundles are kept. Every method throws AppError `unreachable`, naming the target. */
export interface Target {
  readonly name: string
  /** Where it is, without anything secret. */
  readonly place: string
  /** Stores a file. It is seen under its name when it is whole, or not at all. */
  put(name: string, content: AsyncIterable<Buffer>): Promise<void>
  /** What is there. */
  list(): Promise<{ name: string; bytes: number }[]>
  /** @throws AppError `not-found` */
  open(name: string): AsyncIterable<Buffer>
  /** Removes a file; one that is not there is no error. @throws AppError `forbidden` a lock or the credential does not allow it */
  remove(name: string): Promise<void>
}

/** How long bundles stay at a target, and whether they are locked. */
export interface TargetRules {
  daily: number
  weekly: number
  monthly: number
  /** Objects cannot be removed or changed for so many days; 0 for no lock. */
  lockDays: number
  lockMode: 'governance' | 'compliance'
}

export interface TargetLocation {
  name: string
  url: URL
  rules: TargetRules
}

/** Secrets of one target by name (`ACCESS_KEY_ID`, ...); what is missing comes from the platform. */
export type TargetSecrets = (name: string) => string | undefined
