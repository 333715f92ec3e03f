import { createHash } from 'node:crypto'

/** Passes bytes through and knows their SHA-256 at the end. */
export function sha256Of(source: AsyncIterable<Buffer>): { bytes: AsyncIterable<Buffer>; value(): string } {
  const hash = createHash('sha256')
  const passing = async function* () {
    for await (const chunk of source) {
      hash.update(chunk)
      yield chunk
    }
  }
  return { bytes: passing(), value: () => hash.copy().digest('hex') }
}
