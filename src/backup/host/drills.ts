import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCodeOf } from '../../core/app-error.ts'
import type { SignedDrillReport } from '../drill-report.ts'
import type { BackupParts } from '../parts.ts'
import { publishFile } from './files.ts'

/** Reports of drills, one file each. */
export function openDrills(folder: string): BackupParts['drills'] {
  return {
    save: (signed) => publishFile(join(folder, `${signed.report.id}.json`), JSON.stringify(signed, null, 2)),
    async list() {
      const names = await readdir(folder).catch((error) => {
        if (systemCodeOf(error) === 'ENOENT') return []
        throw error
      })
      const files = names.filter((name) => /^[0-9a-z]{26}\.json$/.test(name)).sort()
      return Promise.all(
        files.reverse().map(async (name) => JSON.parse(await readFile(join(folder, name), 'utf8')) as SignedDrillReport),
      )
    },
  }
}
