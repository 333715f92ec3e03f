import { randomBytes } from 'node:crypto'

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'
let lastTimeMs = 0
let sequence = 0

/**
 * A new id: 26 characters of Crockford base 32, lower case, that sort by the time they were made (the layout of a ULID: 48 bits of
 * milliseconds, then 80 bits of which the first 16 count within one millisecond of this process and the rest are random).
 */
export function newId(nowMs: number = Date.now()): string {
  sequence = nowMs === lastTimeMs ? sequence + 1 : 0
  lastTimeMs = nowMs
  const bytes = Buffer.alloc(16)
  bytes.writeUIntBE(nowMs, 0, 6)
  bytes.writeUInt16BE(sequence & 0xffff, 6)
  randomBytes(8).copy(bytes, 8)
  return base32(bytes).slice(0, 26)
}

/** Crockford base 32, lower case, no padding. */
export function base32(bytes: Uint8Array): string {
  let bits = 0
  let value = 0
  let text = ''
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(value >>> bits) & 31]
    }
    value &= (1 << bits) - 1
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text
}
