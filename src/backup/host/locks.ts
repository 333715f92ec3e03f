import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AppError } from '../../core/app-error.ts'
import type { BackupParts } from '../parts.ts'

/**
 * Locks of this host, as exclusive locks on small SQLite files: the kernel releases them when their process ends, however it ends, so
 * that no lock is ever stale.
 */
export function openHostLocks(directory: string): BackupParts['locks'] {
  return {
    async hold(name) {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      const file = new DatabaseSync(join(directory, `${name}.lock`), { timeout: 0 })
      try {
        file.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
      } catch (error) {
        file.close()
        throw new AppError('locked', `another run holds the lock "${name}"`, {
          hint:
            name === 'serve'
              ? 'the service is running: stop it first'
              : 'wait until it has ended; a lock never outlives its process',
          cause: error,
        })
      }
      return {
        [Symbol.dispose]() {
          if (file.isOpen) file.close()
        },
      }
    },
  }
}
