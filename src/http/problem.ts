import { AppError, type ErrorCode } from '../core/app-error.ts'

/** The HTTP status of each error. */
export const httpStatus = {
  failed: 500,
  usage: 400,
  config: 500,
  'not-found': 404,
  exists: 409,
  conflict: 409,
  locked: 423,
  unauthenticated: 401,
  forbidden: 403,
  throttled: 429,
  paused: 503,
  'safe-mode': 409,
  'wrong-identity': 422,
  'verification-failed': 422,
  'nothing-verified': 422,
  'keys-do-not-fit': 422,
  corrupt: 422,
  'archive-foreign': 422,
  'archive-version': 422,
  'archive-truncated': 422,
  'archive-checksum': 422,
  'archive-oversized': 422,
  'too-new': 422,
  'not-ours': 422,
  preflight: 412,
  'post-check-failed': 500,
  unreachable: 503,
  'refused-by-ca': 502,
  'refused-by-dns': 502,
  'refused-by-channel': 502,
  'deploy-failed': 502,
  partial: 502,
  interrupted: 503,
} as const satisfies Record<ErrorCode, number>

/** A problem document (RFC 9457) with the code and the hint as members of our own. */
export interface Problem {
  type: string
  title: string
  status: number
  code: ErrorCode
  hint?: string
  details?: unknown
}

/** Anything that is not an `AppError` is a bug: its text goes to the log, not to the client. */
export function problemOf(error: unknown): Problem {
  const known =
    error instanceof AppError
      ? error
      : new AppError('failed', 'the server made a mistake', { hint: 'the log of the service says more' })
  return {
    type: `urn:certautopilot:error:${known.code}`,
    title: known.message,
    status: httpStatus[known.code],
    code: known.code,
    ...(known.hint === undefined ? {} : { hint: known.hint }),
    ...(known.details === undefined ? {} : { details: known.details }),
  }
}
