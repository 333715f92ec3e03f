import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemActor } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import type { Change, Store } from '../store/store.ts'
import { told } from './backup-jobs.ts'

test('people are told of what failed, not of what was stopped or found another run', async () => {
  const committed: Change[] = []
  const store = { commit: async (changes: Change[]) => void committed.push(...changes) } as unknown as Store
  const run = (error: Error, signal: AbortSignal) => {
    const failure = { event: 'backup.failed', subject: 'host', signal }
    return assert.rejects(
      told(store, systemActor, failure, () => Promise.reject(error)),
      error,
    )
  }
  await run(new AppError('locked', 'another run'), new AbortController().signal)
  await run(new Error('This operation was aborted'), AbortSignal.abort())
  assert.equal(committed.length, 0)
  await run(new AppError('failed', 'the disk is full'), new AbortController().signal)
  assert.equal(committed.length, 1)
})
