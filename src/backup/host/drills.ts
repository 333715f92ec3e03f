import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, systemCodeOf } from '../../core/app-error.ts'
import type { SignedDrillReport } from '../drill-report.ts'
import { publishFile } from './files.ts'

/** Reports of drills, one file each. */
export async function saveDrill(folder: string, signed: SignedDrillReport): Promise<void> {
  await publishFile(join(folder, `${signed.report.id}.json`), JSON.stringify(signed, null, 2))
}

/** Newest first. */
export async function listDrills(folder: string): Promise<SignedDrillReport[]> {
  const names = await readdir(folder).catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw error
  })
  const files = names.filter((name) => /^[0-9a-z]{26}\.json$/.test(name)).sort()
  return Promise.all(
    files.reverse().map(async (name) => JSON.parse(await readFile(join(folder, name), 'utf8')) as SignedDrillReport),
  )
}

/** @throws AppError `not-found` */
export async function requireDrill(folder: string, id: string | undefined): Promise<SignedDrillReport> {
  const drills = await listDrills(folder)
  const found = id === undefined ? drills[0] : drills.find(({ report }) => report.id === id)
  if (found === undefined)
    throw new AppError('not-found', id === undefined ? 'there was no drill yet' : `there is no drill "${id}"`, {
      hint: 'run "certautopilot drill run"',
    })
  return found
}
