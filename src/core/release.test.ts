import assert from 'node:assert/strict'
import { test } from 'node:test'
import { release } from './release.ts'

test('a buffer that is looked at whole is freed', () => {
  const bytes = Buffer.allocUnsafeSlow(1024 * 1024)
  const { buffer } = bytes
  release(bytes)
  assert.equal(buffer.byteLength, 0)
  assert.equal(bytes.length, 0)
})

test('memory that others may look at is left', () => {
  const part = Buffer.allocUnsafeSlow(1024 * 1024).subarray(1)
  const pooled = Buffer.from('one of many in a pool')
  for (const bytes of [part, pooled]) {
    const { length } = bytes
    release(bytes)
    assert.equal(bytes.length, length)
  }
})
