/** Every way in which an operation of ours fails. Each edge (exit code, HTTP status, retry) maps all of them in one table. */
export const errorCodes = [
  'failed',
  'usage',
  'config',
  'not-found',
  'exists',
  'conflict',
  'locked',
  'unauthenticated',
  'forbidden',
  'throttled',
  'paused',
  'safe-mode',
  'wrong-identity',
  'verification-failed',
  'nothing-verified',
  'keys-do-not-fit',
  'corrupt',
  'archive-foreign',
  'archive-version',
  'archive-truncated',
  'archive-checksum',
  'archive-oversized',
  'too-new',
  'not-ours',
  'preflight',
  'post-check-failed',
  'unreachable',
  'refused-by-ca',
  'refused-by-dns',
  'refused-by-channel',
  'deploy-failed',
  'partial',
  'interrupted',
] as const

export type ErrorCode = (typeof errorCodes)[number]

/** A failure that a person is meant to read: what happened, to which thing, and (`hint`) what to do next. Never holds a secret. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  /** What an edge may show beside the message: names, counts, never secrets. */
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.hint = options.hint
    this.details = options.details
  }
}

export function isAppError(error: unknown, code?: ErrorCode): error is AppError {
  return error instanceof AppError && (code === undefined || error.code === code)
}

/** The message of anything thrown, for use inside another message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The `code` that Node puts on system errors (`ENOENT`, `EADDRINUSE`, ...), if there is one. */
export function systemCodeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
