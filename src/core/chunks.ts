/** Joins small chunks until they are at least so many bytes; the last one may be shorter. */
export async function* grouped(source: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let parts: Buffer[] = []
  let size = 0
  for await (const part of source) {
    parts.push(part)
    size += part.length
    if (size < bytes) continue
    yield Buffer.concat(parts, size)
    parts = []
    size = 0
  }
  if (size > 0) yield Buffer.concat(parts, size)
}

/** Pieces of exactly so many bytes, the first one of `firstBytes`; the last one may be shorter. */
export async function* cut(source: AsyncIterable<Buffer>, bytes: number, firstBytes = bytes): AsyncGenerator<Buffer> {
  let kept: Buffer[] = []
  let missing = firstBytes
  for await (const chunk of source) {
    let rest = chunk
    for (; rest.length >= missing; missing = bytes) {
      yield Buffer.concat([...kept, rest.subarray(0, missing)])
      kept = []
      rest = rest.subarray(missing)
    }
    if (rest.length > 0) kept.push(rest)
    missing -= rest.length
  }
  if (kept.length > 0) yield Buffer.concat(kept)
}

/** A stream of one chunk. */
export async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content
}

export async function* startingWith<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first
  yield* rest
}
