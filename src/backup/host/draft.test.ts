import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { once } from '../../core/chunks.ts'
import type { Draft, Sidecar } from '../catalogue.ts'
import { openCatalogue } from './catalogue.ts'

const headBytes = 100
const name = 'certautopilot-backup-20261124-120000.tar.age'

test('whoever follows a draft gets all that is behind its head, as it grows, and also when it has got its name meanwhile', async (t) => {
  const draft = await newDraft(t)
  const body = randomBytes(3_000_000)
  await using eager = await draft.follow(headBytes)
  await using late = await draft.follow(headBytes)
  const followed = bytesOf(eager.bytes)
  await draft.write(Readable.from(piecesOf(body)), headBytes)
  const slow = late.bytes[Symbol.asyncIterator]()
  const first = (await slow.next()).value as Buffer
  const head = randomBytes(headBytes)
  await draft.write(once(head), 0)
  const written = await draft.finish()
  assert.equal(written.sha256, createHash('sha256').update(head).update(body).digest('hex'))
  await draft.publish(name, {} as Sidecar, { verified_level: 'full' })
  await draft[Symbol.asyncDispose]()
  assert.ok((await followed).equals(body))
  assert.ok(Buffer.concat([first, await bytesOf({ [Symbol.asyncIterator]: () => slow })]).equals(body))
})

test('whoever follows a draft that is given up hears of it, however much there was', async (t) => {
  for (const size of [0, 10, 1_000_000]) {
    const draft = await newDraft(t)
    await using file = await draft.follow(headBytes)
    const followed = bytesOf(file.bytes)
    followed.catch(() => {})
    const failing = async function* () {
      if (size > 0) yield randomBytes(size)
      throw new Error('planted')
    }
    await assert.rejects(draft.write(failing(), headBytes), /planted/)
    await draft[Symbol.asyncDispose]()
    await assert.rejects(followed, /given up/)
  }
})

test('a bundle of which nothing stands behind the head is followed to its end', async (t) => {
  const draft = await newDraft(t)
  await using file = await draft.follow(headBytes)
  const followed = bytesOf(file.bytes)
  await draft.write(Readable.from([]), headBytes)
  assert.equal((await followed).length, 0)
  await draft[Symbol.asyncDispose]()
})

test('what the disk has changed is noticed before a bundle gets its name', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-draft-'))
  t.after(() => rm(folder, { recursive: true }))
  await using draft = await openCatalogue(folder, (change) => change()).startDraft()
  await draft.write(once(randomBytes(headBytes)), 0)
  await draft.write(Readable.from(piecesOf(randomBytes(1_000_000))), headBytes)
  const [hidden = ''] = await readdir(folder)
  await using file = await open(join(folder, hidden), 'r+')
  await file.write(Buffer.from('spoilt'), 0, 6, 700_000)
  await assert.rejects(draft.finish(), { code: 'failed', message: /is not what was written/ })
})

async function newDraft(t: TestContext): Promise<Draft> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-draft-'))
  t.after(() => rm(folder, { recursive: true }))
  return openCatalogue(folder, (change) => change()).startDraft()
}

function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += 70_000) yield bytes.subarray(start, start + 70_000)
}

async function bytesOf(source: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source))
}
