import { join } from 'node:path'
import type { Standing, StandingRecord } from '../parts.ts'
import { publishFile, readJson } from './files.ts'

/** A value that nobody has used for this long is not in force any more. */
const retainRecordMs = 8 * 24 * 3600 * 1000

interface RetainRecord {
  days: number
  seen_at: string
}

/** Two small files beside the bundles. Changes of one process follow one another; runs of this host exclude each other by a lock. */
export function openStanding(directory: string): Standing {
  const path = join(directory, 'standing.json')
  let previous: Promise<void> = Promise.resolve()
  const read = async (): Promise<StandingRecord> => ({
    targets: {},
    retention_failures: 0,
    recovery_proven_at: '',
    ...(await readJson<StandingRecord>(path)),
  })
  return {
    read,
    change(next) {
      const changed = previous.then(async () => publishFile(path, JSON.stringify(next(await read()), null, 2)))
      previous = changed.catch(() => {})
      return changed
    },
    agreeRetainDays: (days) => agreeRetainDays(join(directory, 'retention.json'), days),
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
