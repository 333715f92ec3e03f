import { constants, crc32, createDeflateRaw, type DeflateRaw } from 'node:zlib'

/** Each block begins without what came before: smaller ones cost size (1 MB: 2 % more), larger ones memory. */
const blockBytes = 2 * 1024 * 1024
/** Shorter parts are copied together: handing one to another thread costs more. */
const shortBytes = 16 * 1024
const outputBytes = 256 * 1024
/** One fewer than the platform's pool has threads, so that writing the result never queues behind compression. */
const laneCount = 3

/** Header of a gzip member without name and time (RFC 1952, 2.3). */
const header = Buffer.from('1f8b08000000000000ff', 'hex')
/** An empty last block with fixed codes (RFC 1951, 3.2.3): ends a stream whose blocks were all flushed. */
const lastBlock = Buffer.from('0300', 'hex')

/**
 * Compresses into one gzip member on several threads. Each block is flushed completely, so that it refers to nothing before it, and the
 * blocks of all lanes, put one behind the other, are one deflate stream.
 */
export async function* gzipBlocks(source: AsyncIterable<Buffer>, level = 4): AsyncGenerator<Buffer> {
  const lanes = Array.from({ length: laneCount }, () => new Lane(level))
  const inFlight: Promise<Buffer[]>[] = []
  let checksum = 0
  let size = 0
  let count = 0
  yield header
  try {
    for await (const block of blocksOf(source)) {
      for (const part of block) {
        checksum = crc32(part, checksum)
        size += part.length
      }
      const lane = lanes[count++ % laneCount] as Lane
      inFlight.push(lane.compress(block))
      if (inFlight.length >= laneCount) yield* (await inFlight.shift()) as Buffer[]
    }
    for (const block of inFlight) yield* await block
  } finally {
    for (const lane of lanes) lane.close()
  }
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(checksum, 0)
  trailer.writeUInt32LE(size % 2 ** 32, 4)
  yield Buffer.concat([lastBlock, trailer])
}

/** A deflate stream that is given whole blocks, one after the other, and keeps its state for all of them. */
class Lane {
  readonly #deflate: DeflateRaw
  #output: Buffer[] = []
  #previous: Promise<unknown> = Promise.resolve()

  constructor(level: number) {
    this.#deflate = createDeflateRaw({ level, memLevel: 9, chunkSize: outputBytes })
    this.#deflate.on('data', (chunk: Buffer) => this.#output.push(chunk))
  }

  compress(block: Buffer[]): Promise<Buffer[]> {
    const done = this.#previous.then(() => this.#run(block))
    this.#previous = done
    return done
  }

  #run(block: Buffer[]): Promise<Buffer[]> {
    return new Promise((resolve) => {
      for (const part of block) this.#deflate.write(part)
      this.#deflate.flush(constants.Z_FULL_FLUSH, () => {
        const output = this.#output
        this.#output = []
        resolve(output)
      })
    })
  }

  close(): void {
    this.#deflate.destroy()
  }
}

/** Groups what passes into blocks without copying the long parts. */
async function* blocksOf(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer[]> {
  let block: Buffer[] = []
  let size = 0
  for await (const part of source) {
    const last = block.at(-1)
    if (last !== undefined && last.length + part.length <= shortBytes) block[block.length - 1] = Buffer.concat([last, part])
    else block.push(part)
    size += part.length
    if (size < blockBytes) continue
    yield block
    block = []
    size = 0
  }
  if (size > 0) yield block
}
