import { createHash } from 'node:crypto'

/** Passes bytes through and knows their SHA-256 at the end. */
export function sha256Of(source: AsyncIterable<Buffer>): {
  bytes: AsyncIterable<Buffer>
  size(): number
  value(): string
} {
  const hash = createHash('sha256')
  let size = 0
  const passing = async function* () {
    for await (const chunk of source) {
      hash.update(chunk)
      size += chunk.length
      yield chunk
    }
  }
  return { bytes: passing(), size: () => size, value: () => hash.copy().digest('hex') }
}
