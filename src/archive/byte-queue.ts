/**
 * Bytes of a stream, taken in pieces of any size. Holds what has arrived and was not taken; it waits for more only when asked, and
 * never reserves what a length field claims.
 */
export class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array>
  #chunks: Buffer[] = []
  #size = 0

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** The next `size` bytes without taking them; fewer only when the stream ends before. */
  async peek(size: number): Promise<Buffer> {
    while (this.#size < size && (await this.#pull()));
    return this.#joined(size)
  }

  /** Removes and returns `size` bytes that `peek` or `buffered` has shown. */
  take(size: number): Buffer {
    const bytes = this.#joined(size)
    const first = this.#chunks[0] as Buffer
    if (size === first.length) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(size)
    this.#size -= size
    return bytes
  }

  /** The bytes that stand ready in one piece, not taken. */
  buffered(): Buffer {
    return this.#chunks[0] ?? Buffer.alloc(0)
  }

  async isAtEnd(): Promise<boolean> {
    return (await this.peek(1)).length === 0
  }

  /** Ends the stream early, so that what is open behind it is closed. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }

  async #pull(): Promise<boolean> {
    const next = await this.#source.next()
    if (next.done) return false
    const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength)
    if (chunk.length > 0) this.#chunks.push(chunk)
    this.#size += chunk.length
    return true
  }

  /** Makes the first `size` bytes one piece. Chunks are joined only where a piece crosses their border. */
  #joined(size: number): Buffer {
    const first = this.#chunks[0]
    if (first === undefined) return Buffer.alloc(0)
    if (first.length >= size) return first.subarray(0, size)
    let count = 0
    for (let joined = 0; joined < size && count < this.#chunks.length; count++) joined += (this.#chunks[count] as Buffer).length
    const joined = Buffer.concat(this.#chunks.slice(0, count))
    this.#chunks.splice(0, count, joined)
    return joined.subarray(0, size)
  }
}
