import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { cut } from './chunks.ts'

test('a stream is cut into pieces of one size, the first of another, whatever its chunks are', async () => {
  for (const sizes of [[], [1], [7], [3, 4], [3, 10, 10], [23], [24], [1, 1, 1, 30, 0, 2]]) {
    const chunks = sizes.map((size) => randomBytes(size))
    const whole = Buffer.concat(chunks)
    const pieces = await Array.fromAsync(cut(Readable.from(chunks), 10, 3))
    assert.deepEqual(Buffer.concat(pieces), whole)
    const full = whole.length < 3 ? [] : [3, ...Array.from({ length: Math.floor((whole.length - 3) / 10) }, () => 10)]
    const rest = whole.length - full.reduce((sum, size) => sum + size, 0)
    assert.deepEqual(
      pieces.map(({ length }) => length),
      rest > 0 ? [...full, rest] : full,
    )
  }
})
