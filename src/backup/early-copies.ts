import { type SealWrapping, sealWrapping } from '../bundle/age-stream.ts'
import type { WrittenBundle } from '../bundle/write-bundle.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import type { Draft } from './catalogue.ts'
import { firstLock } from './lock-dates.ts'
import type { BackupParts, TargetAccess } from './parts.ts'
import { type SentFile, sendFile } from './send-file.ts'

/** A bundle that grows. */
interface Growing {
  name: string
  draft: Draft
  wrapping: SealWrapping
  headBytes: number
}

/**
 * Copies that are sent while their bundle is still being made, as fast as each target takes them: they follow the file, so a slow one
 * keeps nothing. The head of the bundle stands first and is given last, when the bundle is published; until then no target shows a copy.
 */
export class EarlyCopies implements AsyncDisposable {
  readonly #parts: BackupParts
  readonly #lock: Disposable
  readonly #givenUp = new AbortController()
  readonly #signal: AbortSignal
  readonly #head = Promise.withResolvers<WrittenBundle['head']>()
  readonly #sent = new Map<string, Promise<SentFile>>()
  #name = ''
  #isAwaited = false

  constructor(parts: BackupParts, lock: Disposable, signal: AbortSignal) {
    this.#parts = parts
    this.#lock = lock
    this.#signal = AbortSignal.any([signal, this.#givenUp.signal])
    this.#head.promise.catch(() => {})
  }

  /** To be called before anything is written. */
  begin(growing: Growing): void {
    this.#name = growing.name
    for (const access of this.#parts.targets) {
      const sent = this.#send(access, growing)
      // Who wants the copy hears of it.
      sent.catch(() => {})
      this.#sent.set(access.location.name, sent)
    }
  }

  /** The bundle is good and has its name. */
  complete(head: WrittenBundle['head']): void {
    this.#head.resolve(head)
  }

  /** The copy of a bundle at a target, when all of it was sent; undefined when none was begun. @throws as the target did */
  async of(bundle: string, target: string): Promise<SentFile | undefined> {
    this.#isAwaited = true
    return bundle === this.#name ? this.#sent.get(target) : undefined
  }

  /** Gives up what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new AppError('failed', 'the backup this is a copy of did not succeed')
    this.#givenUp.abort(reason)
    this.#head.reject(reason)
    await Promise.allSettled(this.#sent.values())
    this.#lock[Symbol.dispose]()
  }

  async #send({ location, open }: TargetAccess, { name, draft, wrapping, headBytes }: Growing): Promise<SentFile> {
    const { clock, config, progress } = this.#parts
    const now = clock.now()
    await using file = await draft.follow(wrapping.spaceOf(headBytes))
    const copy = await sealWrapping(config['backup.recipients'])
    const head = this.#head.promise.then(({ plain, isAll }) => copy.head(plain, isAll))
    head.catch(() => {})
    const body = copy.body(wrapping.openBody(file.bytes, headBytes), headBytes)
    return await sendFile(await open(), name, {
      content: { headBytes: copy.spaceOf(headBytes), head, body },
      lockedUntil: firstLock(now, location.rules, now),
      signal: this.#signal,
      onSent: (bytesDone) => this.#isAwaited && progress({ phase: `copying to ${location.name}`, bytesDone }),
    })
  }
}

/** @returns undefined where there is nowhere to copy to, or another run is copying now */
export async function prepareCopies(parts: BackupParts, signal: AbortSignal): Promise<EarlyCopies | undefined> {
  if (parts.targets.length === 0 || parts.config['backup.seal'] === 'none') return undefined
  try {
    return new EarlyCopies(parts, await parts.locks.hold('targets'), signal)
  } catch (error) {
    if (isAppError(error, 'locked')) return undefined
    throw error
  }
}
