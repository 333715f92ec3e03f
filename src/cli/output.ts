import type { Writable } from 'node:stream'
import type { Progress } from '../backup/parts.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { formatBytes, formatDuration } from '../core/units.ts'

const schema = 'certautopilot.v1'
const statusEveryMs = 200
/** What a shorter time shows of a pace is chance. */
const leastSeconds = 0.3

interface Pace {
  bytesPerSecond?: number
  secondsLeft?: number
}

/** Where commands write: plain text for people, JSON lines for programs, a progress line on a terminal. */
export class Output {
  readonly isJson: boolean
  readonly #stdout: Writable
  readonly #stderr: Writable
  readonly #isTerminal: boolean
  readonly #now: () => number
  readonly #started: number
  #lastStatus = 0
  #hasStatusLine = false
  #phase = ''
  /** Where each phase began: several may take turns. */
  readonly #begun = new Map<string, { at: number; bytes: number; last: number }>()

  constructor(options: { stdout: Writable; stderr: Writable; isTerminal: boolean; isJson: boolean; now?: () => number }) {
    this.#stdout = options.stdout
    this.#stderr = options.stderr
    this.#isTerminal = options.isTerminal
    this.isJson = options.isJson
    this.#now = options.now ?? (() => performance.now())
    this.#started = this.#now()
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
    const now = this.#now()
    if (now - this.#lastStatus < statusEveryMs && progress.phase === this.#phase) return
    this.#lastStatus = now
    this.#phase = progress.phase
    const { bytesPerSecond, secondsLeft } = this.#pace(progress, now)
    if (this.isJson) {
      const { phase, bytesDone, bytesTotal } = progress
      const percent_done = bytesDone !== undefined && bytesTotal ? bytesDone / bytesTotal : undefined
      this.#json('status', {
        phase,
        bytes_done: bytesDone,
        total_bytes: bytesTotal,
        percent_done,
        bytes_per_second: bytesPerSecond,
        seconds_remaining: secondsLeft,
        seconds_elapsed: this.#seconds(),
      })
    } else if (this.#isTerminal) {
      this.#hasStatusLine = true
      this.#stderr.write(`\r\x1b[2K${statusLine(progress, bytesPerSecond, secondsLeft)}`)
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

  /** By the phase alone: what came before it, waiting for writers say, tells nothing of how fast it goes. */
  #pace({ phase, bytesDone, bytesTotal }: Progress, now: number): Pace {
    if (bytesDone === undefined) return {}
    const known = this.#begun.get(phase)
    // Less than before is another bundle's.
    const begun = known === undefined || bytesDone < known.last ? { at: now, bytes: bytesDone, last: bytesDone } : known
    this.#begun.set(phase, { ...begun, last: bytesDone })
    const seconds = (now - begun.at) / 1000
    if (seconds < leastSeconds) return {}
    const bytesPerSecond = Math.round((bytesDone - begun.bytes) / seconds)
    if (!bytesTotal || bytesPerSecond <= 0) return { bytesPerSecond }
    return { bytesPerSecond, secondsLeft: Math.ceil((bytesTotal - bytesDone) / bytesPerSecond) }
  }

  #seconds(): number {
    return Math.round((this.#now() - this.#started) / 10) / 100
  }

  #json(message_type: string, data: object): void {
    this.#stdout.write(`${JSON.stringify({ schema, message_type, ...data })}\n`)
  }

  #clearStatus(): void {
    if (this.#hasStatusLine) this.#stderr.write('\r\x1b[2K')
    this.#hasStatusLine = false
  }
}

function statusLine({ phase, bytesDone, bytesTotal }: Progress, bytesPerSecond?: number, secondsLeft?: number): string {
  if (bytesDone === undefined) return phase
  const done = bytesTotal ? `${Math.floor((bytesDone / bytesTotal) * 100)} %` : formatBytes(bytesDone)
  const rate = bytesPerSecond === undefined ? [] : [`${formatBytes(bytesPerSecond)}/s`]
  const left = secondsLeft === undefined ? [] : [`${formatDuration(secondsLeft * 1000)} left`]
  return [phase, done, ...rate, ...left].join('  ')
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
