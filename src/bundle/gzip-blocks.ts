import { constants, crc32, createDeflateRaw, type DeflateRaw } from 'node:zlib'

/** Each block begins without what came before: smaller ones cost size (1 MB: 2 % more), larger ones memory. */
const blockBytes = 2 * 1024 * 1024
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
  const free = [...lanes]
  const busy: { lane: Lane; compressed: Promise<Buffer[]> }[] = []
  /** What a lane has given, passed on when that lane is at work again. */
  let ready: Buffer[] = []
  let checksum = 0
  let size = 0
  yield header
  try {
    let lane = free.pop() as Lane
    for await (const part of source) {
      checksum = crc32(part, checksum)
      size += part.length
      for (let taken = lane.fill(part); lane.isFull; taken += lane.fill(part.subarray(taken))) {
        busy.push({ lane, compressed: lane.compress() })
        yield* ready
        ready = []
        if (free.length === 0) {
          const first = busy.shift() as (typeof busy)[number]
          ready = await first.compressed
          free.push(first.lane)
        }
        lane = free.pop() as Lane
      }
    }
    busy.push({ lane, compressed: lane.compress() })
    yield* ready
    for (const { compressed } of busy) yield* await compressed
  } finally {
    for (const lane of lanes) lane.close()
  }
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(checksum, 0)
  trailer.writeUInt32LE(size % 2 ** 32, 4)
  yield Buffer.concat([lastBlock, trailer])
}

/**
 * A deflate stream that is given whole blocks, one after the other, and keeps its state for all of them. It collects a block in memory of
 * its own: what came in can be freed at once, while it is young, and compressing is handed to another thread once per block.
 */
class Lane {
  readonly #deflate: DeflateRaw
  readonly #block = Buffer.allocUnsafeSlow(blockBytes)
  #size = 0
  #output: Buffer[] = []

  constructor(level: number) {
    this.#deflate = createDeflateRaw({ level, memLevel: 9, chunkSize: outputBytes, flush: constants.Z_FULL_FLUSH })
    this.#deflate.on('data', (chunk: Buffer) => this.#output.push(chunk))
    // Whoever waits for the block hears of it too.
    this.#deflate.on('error', () => {})
  }

  get isFull(): boolean {
    return this.#size === blockBytes
  }

  /** @returns how many of these bytes found room */
  fill(bytes: Buffer): number {
    const taken = bytes.copy(this.#block, this.#size)
    this.#size += taken
    return taken
  }

  async compress(): Promise<Buffer[]> {
    if (this.#size > 0) await this.#write(this.#block.subarray(0, this.#size))
    const output = this.#output
    this.#output = []
    this.#size = 0
    return output
  }

  #write(block: Buffer): Promise<void> {
    return new Promise((resolve, reject) => this.#deflate.write(block, (error) => (error ? reject(error) : resolve())))
  }

  close(): void {
    this.#deflate.destroy()
  }
}
