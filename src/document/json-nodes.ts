import { AppError, messageOf } from '../core/app-error.ts'

/** JSON as it was written: members in order, duplicates kept, numbers as text. `JSON.parse` keeps none of the three. */
export type JsonNode =
  | { kind: 'string'; value: string }
  | { kind: 'number'; text: string }
  | { kind: 'literal'; value: boolean | null }
  | { kind: 'array'; values: JsonNode[] }
  | { kind: 'object'; members: [name: string, value: JsonNode][] }

const maxDepth = 400
const tokens = /[\s]*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null))/y

/** @throws AppError `corrupt` */
export function parseJsonNodes(text: string): JsonNode {
  const reader = new Reader(text)
  const node = reader.value(0)
  reader.end()
  return node
}

class Reader {
  readonly #text: string
  #position = 0

  constructor(text: string) {
    this.#text = text
  }

  value(depth: number): JsonNode {
    if (depth > maxDepth) throw corrupt('nested too deeply')
    const token = this.#next()
    if (token === '{') return { kind: 'object', members: this.#members(depth) }
    if (token === '[') return { kind: 'array', values: this.#values(depth) }
    if (token.startsWith('"')) return { kind: 'string', value: unquote(token) }
    if (token === 'true' || token === 'false') return { kind: 'literal', value: token === 'true' }
    if (token === 'null') return { kind: 'literal', value: null }
    if (/^[-\d]/.test(token)) return { kind: 'number', text: token }
    throw corrupt(`"${token}" where a value was expected`)
  }

  end(): void {
    if (this.#text.slice(this.#position).trim() !== '') throw corrupt('text behind the end')
  }

  #members(depth: number): [string, JsonNode][] {
    const members: [string, JsonNode][] = []
    if (this.#skip('}')) return members
    do {
      const name = this.#next()
      if (!name.startsWith('"')) throw corrupt(`"${name}" where a name was expected`)
      this.#expect(':')
      members.push([unquote(name), this.value(depth + 1)])
    } while (this.#skip(','))
    this.#expect('}')
    return members
  }

  #values(depth: number): JsonNode[] {
    const values: JsonNode[] = []
    if (this.#skip(']')) return values
    do values.push(this.value(depth + 1))
    while (this.#skip(','))
    this.#expect(']')
    return values
  }

  #next(): string {
    tokens.lastIndex = this.#position
    const match = tokens.exec(this.#text)
    if (match === null) throw corrupt('it ends early or holds a stray character')
    this.#position = tokens.lastIndex
    return match[0].trimStart()
  }

  #skip(token: string): boolean {
    const before = this.#position
    if (this.#next() === token) return true
    this.#position = before
    return false
  }

  #expect(token: string): void {
    const found = this.#next()
    if (found !== token) throw corrupt(`"${found}" where "${token}" was expected`)
  }
}

function unquote(token: string): string {
  try {
    return JSON.parse(token) as string
  } catch (error) {
    throw corrupt(messageOf(error), error)
  }
}

function corrupt(message: string, cause?: unknown): AppError {
  return new AppError('corrupt', `not valid JSON: ${message}`, { cause })
}
