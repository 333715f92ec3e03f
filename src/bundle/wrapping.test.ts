import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
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
