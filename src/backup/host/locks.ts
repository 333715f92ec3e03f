import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AppError, isAppError } from '../../core/app-error.ts'
import { sleep } from '../../core/clock.ts'
import type { BackupParts } from '../parts.ts'

/**
 * Locks of this host, as exclusive locks on small SQLite files: the kernel releases them when their process ends, however it ends, so
 * that no lock is ever stale.
 */
export function openHostLocks(directory: string): BackupParts['locks'] {
  return { hold: async (name) => lockFile(directory, name) }
}

/** Lets one at a time, of all processes of this host, do something short. */
export type Changing = <T>(change: () => Promise<T>) => Promise<T>

const patienceMs = 10_000
/** SQLITE_BUSY (sqlite.org/rescode.html). */
const busy = 5

/** @throws AppError `locked` when others go on for too long */
export function oneAtATime(directory: string, name: string): Changing {
  let previous: Promise<unknown> = Promise.resolve()
  const alone: Changing = async (change) => {
    using _lock = await patiently(() => lockFile(directory, name))
    return await change()
  }
  return (change) => {
    const next = previous.then(() => alone(change))
    previous = next.catch(() => {})
    return next
  }
}

async function patiently(take: () => Disposable): Promise<Disposable> {
  for (const end = performance.now() + patienceMs; ; ) {
    try {
      return take()
    } catch (error) {
      if (!isAppError(error, 'locked') || performance.now() > end) throw error
      await sleep(20)
    }
  }
}

function lockFile(directory: string, name: string): Disposable {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const file = new DatabaseSync(join(directory, `${name}.lock`), { timeout: 0 })
  try {
    file.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    file.close()
    if ((error as { errcode?: number }).errcode !== busy) throw error
    throw new AppError('locked', `another run holds the lock "${name}"`, {
      hint:
        name === 'serve' ? 'the service is running: stop it first' : 'wait until it has ended; a lock never outlives its process',
      cause: error,
    })
  }
  return {
    [Symbol.dispose]() {
      if (file.isOpen) file.close()
    },
  }
}
