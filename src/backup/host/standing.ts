import { join } from 'node:path'
import type { Standing, StandingRecord } from '../parts.ts'
import { publishFile, readJson } from './files.ts'
import type { Changing } from './locks.ts'

/** A value that nobody has used for this long is not in force any more. */
const retainRecordMs = 8 * 24 * 3600 * 1000

interface RetainRecord {
  days: number
  seen_at: string
}

/** Two small files beside the bundles. @param changing lets one process at a time change them */
export function openStanding(directory: string, changing: Changing): Standing {
  const path = join(directory, 'standing.json')
  const read = async (): Promise<StandingRecord> => ({
    targets: {},
    retention_failures: 0,
    proven: {},
    ...(await readJson<StandingRecord>(path)),
  })
  return {
    read,
    change: (next) => changing(async () => publishFile(path, JSON.stringify(next(await read()), null, 2))),
    agreeRetainDays: (days) => changing(() => agreeRetainDays(join(directory, 'retention.json'), days)),
  }
}

async function agreeRetainDays(path: string, days: number): Promise<number> {
  const known = (await readJson<RetainRecord[]>(path)) ?? []
  const oldest = Date.now() - retainRecordMs
  const others = known.filter((record) => record.days !== days && Date.parse(record.seen_at) > oldest)
  const records = [...others, { days, seen_at: new Date().toISOString() }]
  await publishFile(path, JSON.stringify(records))
  return Math.max(...records.map((record) => record.days))
}
