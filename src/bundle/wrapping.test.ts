import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { gzipBlocks } from './gzip-blocks.ts'
import { gzipWrapping, headUnit } from './wrapping.ts'

for (const size of [0, 1, 300_000]) {
  test(`gunzip reads a head that was enclosed after ${size} bytes behind it, in the space left for it`, async () => {
    const head = randomBytes(3 * headUnit)
    const behind = randomBytes(size)
    const body = Buffer.concat(await Array.fromAsync(gzipWrapping.body(Readable.from([behind]), head.length)))
    const enclosed = gzipWrapping.head(head, size === 0)
    assert.equal(enclosed.length, gzipWrapping.spaceOf(head.length))
    assert.deepEqual(gunzipSync(Buffer.concat([enclosed, body])), Buffer.concat([head, behind]))
  })
}

const blockBytes = 2 * 1024 * 1024

for (const sizes of [[], [blockBytes], [blockBytes - 1, 2], [7 * blockBytes + 5], [1, 3 * blockBytes, 4 * blockBytes]]) {
  test(`gunzip reads what several threads have compressed out of parts of ${sizes.join(', ') || 'no'} bytes`, async () => {
    const parts = sizes.map((size) => randomBytes(size))
    const compressed = Buffer.concat(await Array.fromAsync(gzipBlocks(Readable.from(parts))))
    assert.deepEqual(gunzipSync(compressed), Buffer.concat(parts))
  })
}

test('a reader that stops early leaves no compression behind whose failure nobody hears of', async (t) => {
  const unheard = t.mock.fn()
  process.on('unhandledRejection', unheard)
  t.after(() => process.off('unhandledRejection', unheard))
  let isEnded = false
  const endless = async function* () {
    try {
      for (;;) yield randomBytes(blockBytes / 2)
    } finally {
      isEnded = true
    }
  }
  for await (const chunk of gzipBlocks(endless())) if (chunk.length > 100) break
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(isEnded, true)
  assert.equal(unheard.mock.callCount(), 0)
})
