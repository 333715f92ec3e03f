import { readFile } from 'node:fs/promises'
import { formatEnvFile } from '../../config/env-file.ts'
import { hostBoundSecretNames } from '../../config/secrets.ts'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import type { SecretStore } from '../secret-store.ts'

/** `secrets.env` on a host. @param inForce the values that the program runs with, for where there is no file */
export function openEnvFileSecretStore(path: string, inForce: ReadonlyMap<string, string>): SecretStore {
  return {
    async capture() {
      try {
        return await readFile(path)
      } catch (error) {
        if (systemCodeOf(error) === 'ENOENT') return portable(inForce)
        throw new AppError('preflight', `cannot read "${path}": ${messageOf(error)}`, {
          hint: 'a backup without the keys would be useless; run it as the owner of the file',
          cause: error,
        })
      }
    },
  }
}

function portable(values: ReadonlyMap<string, string>): Buffer {
  const kept = new Map([...values].filter(([name]) => !hostBoundSecretNames.includes(name)))
  return Buffer.from(formatEnvFile(kept, 'portable secrets in force when the backup was taken'))
}
