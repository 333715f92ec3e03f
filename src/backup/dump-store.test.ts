import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sideBySide } from './dump-store.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function* counting(name: string, count: number, everyMs: number): AsyncGenerator<string> {
  for (let n = 0; n < count; n++) {
    await pause(everyMs)
    yield `${name}${n}`
  }
}

test('of several sources whichever has something first is taken, each in its order, until all have ended', async () => {
  const taken = await Array.fromAsync(sideBySide([counting('slow', 3, 20), counting('fast', 30, 1), counting('empty', 0, 0)]))
  assert.equal(taken.length, 33)
  assert.ok(taken.indexOf('fast2') < taken.indexOf('slow0'), taken.join())
  assert.deepEqual(
    taken.filter((name) => name.startsWith('slow')),
    ['slow0', 'slow1', 'slow2'],
  )
})

test('a source that fails ends all, also when another one has answered in the same moment', async () => {
  const ended: string[] = []
  async function* watched(name: string, source: AsyncGenerator<string>): AsyncGenerator<string> {
    try {
      yield* source
    } finally {
      ended.push(name)
    }
  }
  // biome-ignore lint/correctness/useYield: it fails before it gives anything
  async function* failing(): AsyncGenerator<string> {
    throw new Error('planted')
  }
  for (const delayMs of [0, 1, 5]) {
    const both = [watched('good', counting('good', 5, delayMs)), watched('bad', failing())]
    await assert.rejects(
      Array.fromAsync(sideBySide(both), async (name) => {
        await pause(3)
        return name
      }),
      /planted/,
    )
  }
  assert.deepEqual(ended.sort(), ['bad', 'bad', 'bad', 'good', 'good', 'good'])
})
