/** A refusal of the API (RFC 9457), with what to do next. */
export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string | undefined

  constructor(status: number, body: { title?: string; code?: string; hint?: string }) {
    super(body.title ?? `the service answered ${status}`)
    this.status = status
    this.code = body.code ?? 'failed'
    this.hint = body.hint
  }
}

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

let refreshing: Promise<boolean> | undefined

/** Asks the API; a session that has run out is refreshed once. @throws Problem */
export async function api<T>(method: Method, path: string, body?: unknown): Promise<T> {
  const first = await send(method, path, body)
  const isStale = first.status === 401 && !path.startsWith('/auth/') && !path.startsWith('/setup')
  const reply = isStale && (await refresh()) ? await send(method, path, body) : first
  if (reply.status === 204) return undefined as T
  const value = await reply.json().catch(() => ({}))
  if (!reply.ok) throw new Problem(reply.status, value)
  return value as T
}

export function get<T>(path: string): Promise<T> {
  return api<T>('GET', path)
}

function send(method: Method, path: string, body: unknown): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' }
  const csrf = document.cookie.match(/(?:^|; )cap_csrf=([^;]*)/)?.[1]
  if (method !== 'GET' && csrf !== undefined) headers['x-csrf-token'] = csrf
  if (body !== undefined) headers['content-type'] = 'application/json'
  return fetch(`/api/v1${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
}

/** One refresh for all requests that wait: a refresh token works once. */
function refresh(): Promise<boolean> {
  refreshing ??= send('POST', '/auth/refresh', undefined)
    .then((reply) => reply.ok)
    .finally(() => {
      refreshing = undefined
    })
  return refreshing
}
