import { createHash, timingSafeEqual } from 'node:crypto'

const redacted = '[secret]'

/** A value that cannot print itself: not by `util.inspect`, JSON, templates or an error. Only `reveal()` gives it out. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  /** The value as bytes; `encoding` says how the text spells them. */
  bytes(encoding: 'utf8' | 'hex' | 'base64' = 'utf8'): Buffer {
    return Buffer.from(this.#value, encoding)
  }

  toString(): string {
    return redacted
  }

  toJSON(): string {
    return redacted
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return redacted
  }
}

/** Compares two texts in time that depends on neither. */
export function equalsInConstantTime(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
