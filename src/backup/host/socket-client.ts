import { request as send } from 'node:http'
import { AppError, type ErrorCode, errorCodes, messageOf } from '../../core/app-error.ts'

/** Talks HTTP to a service over its Unix socket; keeps the cookies of a session as a browser would. */
export class SocketClient {
  readonly #socketPath: string
  readonly #cookies = new Map<string, string>()

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  /** @throws AppError `unreachable` nobody listens · otherwise the error that the service answered */
  request(method: string, path: string, body?: unknown): Promise<string> {
    return this.requestBytes(method, path, body).then((bytes) => bytes.toString())
  }

  async requestBytes(method: string, path: string, body?: unknown): Promise<Buffer> {
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const { status, content } = await this.#exchange(method, path, payload)
    if (status >= 400) throw errorOf(content)
    return content
  }

  #exchange(method: string, path: string, payload: string | undefined): Promise<{ status: number; content: Buffer }> {
    return new Promise((resolve, reject) => {
      const outgoing = send({ socketPath: this.#socketPath, method, path, headers: this.#headers(payload) }, (response) => {
        const chunks: Buffer[] = []
        for (const cookie of response.headers['set-cookie'] ?? []) this.#remember(cookie)
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => resolve({ status: response.statusCode ?? 500, content: Buffer.concat(chunks) }))
      })
      outgoing.on('error', (error) => reject(unreachable(error)))
      outgoing.end(payload)
    })
  }

  #headers(payload: string | undefined): Record<string, string> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const csrf = this.#cookies.get('cap_csrf')
    return {
      ...(payload === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
      ...(cookie === '' ? {} : { cookie }),
      ...(csrf === undefined ? {} : { 'x-csrf-token': csrf }),
    }
  }

  #remember(header: string): void {
    const match = header.match(/^([^=]+)=([^;]*)/)
    if (match !== null) this.#cookies.set(match[1] as string, match[2] as string)
  }
}

function unreachable(error: unknown): AppError {
  return new AppError('unreachable', `the service does not answer: ${messageOf(error)}`, {
    hint: 'start it with "certautopilot serve"; this command works through the running service',
    cause: error,
  })
}

function errorOf(content: Buffer): AppError {
  try {
    const problem = JSON.parse(content.toString()) as {
      title?: string
      code?: ErrorCode
      hint?: string
      details?: Record<string, unknown>
    }
    const code = errorCodes.find((known) => known === problem.code) ?? 'failed'
    const { hint, details } = problem
    return new AppError(code, problem.title ?? 'the service refused', {
      ...(hint === undefined ? {} : { hint }),
      ...(details === undefined ? {} : { details }),
    })
  } catch {
    return new AppError('failed', 'the service answered with something that is no problem document')
  }
}
