import { readFile } from 'node:fs/promises'
import { formatEnvFile, parseEnvFile } from '../../config/env-file.ts'
import { hostBoundSecretNames } from '../../config/secrets.ts'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import type { SecretStore } from '../secret-store.ts'

/** `secrets.env` on a host. @param inForce what the environment holds: all there is where there is no file */
export function openEnvFileSecretStore(path: string, inForce: ReadonlyMap<string, string>): SecretStore {
  return {
    async capture() {
      try {
        const content = await readFile(path)
        refuseOther(content, inForce, path)
        return content
      } catch (error) {
        if (error instanceof AppError) throw error
        if (systemCodeOf(error) === 'ENOENT') return portable(inForce)
        throw new AppError('preflight', `cannot read "${path}": ${messageOf(error)}`, {
          hint: 'a backup without the keys would be useless; run it as the owner of the file',
          cause: error,
        })
      }
    },
  }
}

/** A value that only the environment holds would be missing after the machine is lost. */
function refuseOther(content: Buffer, inForce: ReadonlyMap<string, string>, path: string): void {
  const inFile = parseEnvFile(content.toString(), path)
  const other = [...inForce].find(([name, value]) => !hostBoundSecretNames.includes(name) && inFile.get(name) !== value)
  if (other === undefined) return
  throw new AppError(
    'preflight',
    `"${other[0]}" of the environment is not what "${path}" holds: the bundle would lack what is in force`,
    {
      hint: 'put it into the file, or take it out of the environment',
    },
  )
}

function portable(values: ReadonlyMap<string, string>): Buffer {
  const kept = new Map([...values].filter(([name]) => !hostBoundSecretNames.includes(name)))
  return Buffer.from(formatEnvFile(kept, 'portable secrets in force when the backup was taken'))
}
