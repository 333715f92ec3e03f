import { lookup } from 'node:dns/promises'
import { request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import type { LookupFunction } from 'node:net'
import { AppError, messageOf } from '../../core/app-error.ts'
import type { Outbound, OutboundReply, OutboundRequest } from '../outbound.ts'
import { type AllowedAddresses, allowedAddresses } from './addresses.ts'

const timeoutMs = 30_000
const defaultMaxBytes = 1024 * 1024
const maxRedirects = 5

/** @param allow addresses, ranges or host names that may be reached although they are not public. @throws AppError `config` */
export function openOutbound(allow: readonly string[]): Outbound {
  const allowed = allowedAddresses(allow)
  return { request: (request, signal) => follow(allowed, request, signal) }
}

async function follow(allowed: AllowedAddresses, request: OutboundRequest, signal: AbortSignal): Promise<OutboundReply> {
  let { url } = request
  for (let hops = 0; hops <= maxRedirects; hops++) {
    const reply = await send(allowed, { ...request, url }, signal)
    const { location } = reply.headers
    if (
      request.method === 'POST' ||
      request.method === 'DELETE' ||
      reply.status < 300 ||
      reply.status > 399 ||
      location === undefined
    )
      return reply
    url = new URL(location, url).href
  }
  throw new AppError('unreachable', `"${request.url}" redirects more than ${maxRedirects} times`)
}

async function send(allowed: AllowedAddresses, request: OutboundRequest, signal: AbortSignal): Promise<OutboundReply> {
  const url = parsedUrl(request.url)
  allowed.checkLiteral(url.hostname)
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  try {
    return await exchange(allowed, url, request, bounded)
  } catch (error) {
    const refusal = error instanceof AppError ? error : (error as Error).cause
    if (refusal instanceof AppError) throw refusal
    throw new AppError('unreachable', `cannot reach "${url.origin}": ${reasonOf(error, signal)}`, { cause: error })
  }
}

function exchange(allowed: AllowedAddresses, url: URL, request: OutboundRequest, signal: AbortSignal): Promise<OutboundReply> {
  const { promise, resolve, reject } = Promise.withResolvers<OutboundReply>()
  const send = url.protocol === 'https:' ? requestTls : requestPlain
  const outgoing = send(url, {
    method: request.method,
    headers: { 'user-agent': 'certautopilot', ...request.headers },
    ...(request.trustAnchors ? { ca: request.trustAnchors } : {}),
    lookup: guardedLookup(allowed),
    agent: false,
    signal,
  })
  outgoing.once('error', reject)
  outgoing.once('response', async (incoming) => {
    const chunks: Buffer[] = []
    let size = 0
    try {
      for await (const chunk of incoming) {
        size += (chunk as Buffer).length
        if (size > (request.maxBytes ?? defaultMaxBytes)) throw new AppError('unreachable', `"${url.origin}" answers with too much`)
        chunks.push(chunk as Buffer)
      }
      const headers = Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]))
      resolve({ status: incoming.statusCode ?? 0, headers, body: Buffer.concat(chunks) })
    } catch (error) {
      incoming.destroy()
      reject(error)
    }
  })
  outgoing.end(request.body)
  return promise
}

/** Looks a name up once, checks every address, and connects only to what was checked. */
function guardedLookup(allowed: AllowedAddresses): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { all: true, verbatim: true }).then(
      (found) => {
        try {
          for (const { address } of found) allowed.check(hostname, address)
          const [first] = found
          if (options.all) callback(null, found)
          else callback(null, first?.address ?? '', first?.family ?? 4)
        } catch (error) {
          callback(error as NodeJS.ErrnoException, '', 4)
        }
      },
      (error) => callback(error, '', 4),
    )
  }
}

function parsedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new AppError('usage', `"${text}" is not an http or https URL`)
  return url
}

function reasonOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return 'interrupted'
  return (error as Error).name === 'TimeoutError' || (error as Error).name === 'AbortError'
    ? `no answer within ${timeoutMs / 1000} s`
    : messageOf(error)
}
