import { promisify } from 'node:util'
import { gzip } from 'node:zlib'

const compress = promisify(gzip)
const blockBytes = 256 * 1024
const maxInFlight = 3

/**
 * Compresses on the platform's thread pool, several blocks at once, each as a gzip member of its own. Members may be concatenated
 * (RFC 1952, 2.2); stock tools read them as one stream.
 */
export async function* gzipBlocks(source: AsyncIterable<Buffer>, level = 1): AsyncGenerator<Buffer> {
  const inFlight: Promise<Buffer>[] = []
  for await (const block of joinedBlocks(source)) {
    inFlight.push(compress(block, { level }))
    if (inFlight.length >= maxInFlight) yield (await inFlight.shift()) as Buffer
  }
  for (const block of inFlight) yield await block
}

async function* joinedBlocks(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let parts: Buffer[] = []
  let size = 0
  for await (const part of source) {
    parts.push(part)
    size += part.length
    if (size < blockBytes) continue
    yield parts.length === 1 ? part : Buffer.concat(parts, size)
    parts = []
    size = 0
  }
  if (size > 0) yield Buffer.concat(parts, size)
}
