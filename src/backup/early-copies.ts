import { type SealWrapping, sealWrapping } from '../bundle/age-stream.ts'
import type { WrittenBundle } from '../bundle/write-bundle.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'
import type { Draft } from './catalogue.ts'
import { firstLock } from './lock-dates.ts'
import { type BackupParts, ownInstallation, type TargetAccess } from './parts.ts'
import { type SentFile, sendFile } from './send-file.ts'
import { requireNameFree } from './target-catalogue.ts'

/** A target that does not answer keeps nobody from hearing why a backup failed. */
const giveUpMs = 4_000

/** A bundle that grows. */
interface Growing {
  name: string
  draft: Draft
  wrapping: SealWrapping
  headBytes: number
}

/**
 * Copies that are sent while their bundle is still being made, as fast as each target takes them: they follow the file, so no target is
 * waited for. The head of the bundle stands first and is given last, when the bundle is published; until then no target shows a copy.
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
      // It is then sent again, when the bundle is there.
      sent.catch(() => {})
      this.#sent.set(access.location.name, sent)
    }
  }

  /** The bundle is good and has its name. */
  complete(head: WrittenBundle['head']): void {
    this.#head.resolve(head)
  }

  /** The copy of a bundle at a target, when all of it was sent; undefined when none was begun, or it failed on the way. */
  async of(bundle: string, target: string): Promise<SentFile | undefined> {
    this.#isAwaited = true
    const sent = bundle === this.#name ? this.#sent.get(target) : undefined
    return Promise.race([sent?.catch(() => undefined), aborted(this.#signal)])
  }

  /** Gives up what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new AppError('failed', 'the backup this is a copy of did not succeed')
    this.#givenUp.abort(reason)
    this.#head.reject(reason)
    const limit = new AbortController()
    // While anything may still arrive there, nobody else sends.
    const settled = Promise.allSettled(this.#sent.values()).then(() => this.#lock[Symbol.dispose]())
    await Promise.race([settled, sleep(giveUpMs, limit.signal)])
    limit.abort()
  }

  async #send({ location, open }: TargetAccess, { name, draft, wrapping, headBytes }: Growing): Promise<SentFile> {
    const { clock, config, progress } = this.#parts
    const now = clock.now()
    await using file = await draft.follow(wrapping.spaceOf(headBytes))
    const target = await open()
    // Sealed to people only as it is, it is sent as it is.
    const isForPeople = !config['backup.host_identity']
    const copy = isForPeople ? wrapping : await sealWrapping(config['backup.recipients'])
    const head = this.#head.promise.then(async ({ plain, isAll }) => {
      await requireNameFree(target, name, await ownInstallation(this.#parts))
      return copy.head(plain, isAll)
    })
    head.catch(() => {})
    const body = isForPeople ? file.bytes : copy.body(wrapping.openBody(file.bytes, headBytes), headBytes)
    return await sendFile(target, name, {
      content: { headBytes: copy.spaceOf(headBytes), head, body },
      lockedUntil: firstLock(now, location.rules, now),
      signal: this.#signal,
      onSent: (bytesDone) => this.#isAwaited && progress({ phase: `copying to ${location.name}`, bytesDone }),
    })
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = () => reject(signal.reason)
    if (signal.aborted) fail()
    else signal.addEventListener('abort', fail, { once: true })
  })
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
