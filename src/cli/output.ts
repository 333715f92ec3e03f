import type { Writable } from 'node:stream'
import type { Progress } from '../backup/parts.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { formatBytes } from '../core/units.ts'

const schema = 'certautopilot.v1'
const statusEveryMs = 200

/** Where commands write: plain text for people, JSON lines for programs, a progress line on a terminal. */
export class Output {
  readonly isJson: boolean
  readonly #stdout: Writable
  readonly #stderr: Writable
  readonly #isTerminal: boolean
  readonly #started = performance.now()
  #lastStatus = 0
  #hasStatusLine = false
  #phase = ''

  constructor(options: { stdout: Writable; stderr: Writable; isTerminal: boolean; isJson: boolean }) {
    this.#stdout = options.stdout
    this.#stderr = options.stderr
    this.#isTerminal = options.isTerminal
    this.isJson = options.isJson
  }

  /** The result of a command. */
  summary(data: object, lines: readonly string[]): void {
    this.#clearStatus()
    if (this.isJson) this.#json('summary', { ...data, seconds_elapsed: this.#seconds() })
    else for (const line of lines) this.#stdout.write(`${line}\n`)
  }

  /** One line on the way; not part of the result. */
  note(line: string): void {
    this.#clearStatus()
    if (!this.isJson) this.#stdout.write(`${line}\n`)
  }

  /** What a person wants to know while the output belongs to another program. */
  notice(line: string): void {
    this.#clearStatus()
    if (!this.isJson) this.#stderr.write(`${line}\n`)
  }

  raw(content: string | Buffer): void {
    this.#clearStatus()
    this.#stdout.write(content)
  }

  progress(progress: Progress): void {
    const now = performance.now()
    if (now - this.#lastStatus < statusEveryMs && progress.phase === this.#phase) return
    this.#lastStatus = now
    this.#phase = progress.phase
    if (this.isJson) {
      const { phase, bytesDone, bytesTotal } = progress
      const percent_done = bytesDone !== undefined && bytesTotal ? bytesDone / bytesTotal : undefined
      this.#json('status', {
        phase,
        bytes_done: bytesDone,
        total_bytes: bytesTotal,
        percent_done,
        seconds_elapsed: this.#seconds(),
      })
    } else if (this.#isTerminal) {
      this.#hasStatusLine = true
      this.#stderr.write(`\r\x1b[2K${statusLine(progress, this.#seconds())}`)
    }
  }

  error(error: unknown, exitCode: number): void {
    this.#clearStatus()
    const known = isAppError(error)
      ? error
      : new AppError('failed', error instanceof Error ? (error.stack ?? error.message) : String(error))
    if (this.isJson)
      this.#json('exit_error', {
        code: exitCode,
        error: known.code,
        message: known.message,
        hint: known.hint,
        details: known.details,
      })
    else this.#stderr.write(`error: ${known.message}\n${known.hint === undefined ? '' : `  ${known.hint}\n`}`)
  }

  #seconds(): number {
    return Math.round((performance.now() - this.#started) / 10) / 100
  }

  #json(message_type: string, data: object): void {
    this.#stdout.write(`${JSON.stringify({ schema, message_type, ...data })}\n`)
  }

  #clearStatus(): void {
    if (this.#hasStatusLine) this.#stderr.write('\r\x1b[2K')
    this.#hasStatusLine = false
  }
}

function statusLine({ phase, bytesDone, bytesTotal }: Progress, seconds: number): string {
  if (bytesDone === undefined) return phase
  const rate = bytesDone / Math.max(seconds, 0.1)
  if (!bytesTotal) return `${phase}  ${formatBytes(bytesDone)}  ${formatBytes(rate)}/s`
  const left = Math.ceil((bytesTotal - bytesDone) / Math.max(rate, 1))
  return `${phase}  ${Math.floor((bytesDone / bytesTotal) * 100)} %  ${formatBytes(rate)}/s  ${left} s left`
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_cell, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
