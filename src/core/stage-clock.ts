export interface Stage {
  stage: string
  durationMs: number
}

/** Measures stages that follow one another. */
export class StageClock {
  readonly stages: Stage[] = []
  #started = performance.now()

  end(stage: string): void {
    const now = performance.now()
    this.stages.push({ stage, durationMs: now - this.#started })
    this.#started = now
  }

  /** The same time, divided among what ran in it; what is left of it is `rest`. */
  endDivided(parts: readonly Stage[], rest: string): void {
    const now = performance.now()
    const known = parts.reduce((sum, { durationMs }) => sum + durationMs, 0)
    this.stages.push(...parts, { stage: rest, durationMs: Math.max(0, now - this.#started - known) })
    this.#started = now
  }
}

/** Adds up how long a source is waited for. */
export async function* timed<T>(source: AsyncIterable<T>, add: (waitedMs: number) => void): AsyncGenerator<T> {
  const values = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      const asked = performance.now()
      const { done, value } = await values.next()
      add(performance.now() - asked)
      if (done) return
      yield value
    }
  } finally {
    await values.return?.()
  }
}
