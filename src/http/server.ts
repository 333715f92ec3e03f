import { createServer, type Server } from 'node:http'
import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { authenticateApiKey } from '../access/api-keys.ts'
import { type Caller, requireRole } from '../access/roles.ts'
import { authenticateSession, requireCsrf, type SessionTokens } from '../access/sessions.ts'
import { hostActor } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { clearedCookies, parseCookies, sessionCookies } from './cookies.ts'
import { requestFinished } from './metrics.ts'
import type { HttpParts } from './parts.ts'
import { problemOf } from './problem.ts'
import { Download, type Route } from './route.ts'
import { allRoutes } from './routes.ts'
import { isForWeb, sendWeb } from './web-files.ts'

const maxBodyBytes = 8 * 1024 * 1024
const nobody: Caller = { actor: { kind: 'system', id: 'nobody', name: 'nobody' }, role: 'viewer' }
const host: Caller = { actor: hostActor, role: 'owner' }

export interface HttpServer {
  /** Listens for the world. @returns the URL */
  listen(where: { host: string; port: number } | { path: string }): Promise<string>
  /** Listens on a socket whose callers are the operator on the host. */
  listenForHost(path: string): Promise<void>
  close(): Promise<void>
}

export function createHttpServer(parts: HttpParts): HttpServer {
  const app = Fastify({
    logger: false,
    bodyLimit: maxBodyBytes,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 300 },
  })
  const admin: { server?: Server } = {}
  app.setErrorHandler((error, _request, reply) => sendProblem(parts, reply, error))
  app.setNotFoundHandler((request, reply) => {
    if (isForWeb(request)) return sendWeb(request, reply)
    return sendProblem(parts, reply, new AppError('not-found', `there is no ${request.method} ${pathOf(request)}`))
  })
  app.addHook('onResponse', async (request, reply) =>
    requestFinished(request.method, request.routeOptions.url ?? 'unknown', reply.statusCode, reply.elapsedTime),
  )
  for (const route of allRoutes) register(app, parts, route)
  return {
    listen: (where) => app.listen(where),
    async listenForHost(path) {
      await app.ready()
      const server = createServer((request, response) => {
        hostRequests.add(request)
        app.routing(request, response)
      })
      admin.server = server
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve))
    },
    async close() {
      admin.server?.closeAllConnections()
      admin.server?.close()
      await app.close()
    },
  }
}

/** Requests that came over the host's own socket; file permissions have let them in. */
const hostRequests = new WeakSet<object>()

function register(app: FastifyInstance, parts: HttpParts, route: Route): void {
  app.route({
    method: route.method,
    url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    handler: async (request, reply) => {
      const caller = await authenticate(parts, request, route)
      if (route.role !== 'public') requireRole(caller, route.role)
      const result = await route.handle({
        parts,
        caller,
        params: validated(route.params, request.params, 'path'),
        query: validated(route.query, request.query, 'query'),
        body: validated(route.body, request.body, 'body'),
        address: request.ip,
        cookies: parseCookies(request.headers.cookie),
        signal: goneSignal(reply),
        setSession: (tokens: SessionTokens | undefined) =>
          void reply.header(
            'set-cookie',
            tokens === undefined ? clearedCookies() : sessionCookies(tokens, parts.certificates.publicUrl.startsWith('https:')),
          ),
      } as never)
      return send(reply, route, result)
    },
  })
}

async function authenticate(parts: HttpParts, request: FastifyRequest, route: Route): Promise<Caller> {
  if (hostRequests.has(request.raw)) return host
  if (route.role === 'public') return nobody
  const { authorization } = request.headers
  const cookies = parseCookies(request.headers.cookie)
  if (authorization !== undefined) {
    if (cookies.cap_access !== undefined) throw new AppError('usage', 'an API key and a session cookie cannot be mixed')
    return authenticateApiKey(parts.access, authorization.replace(/^Bearer /, ''))
  }
  const { caller, session } = await authenticateSession(parts.access, cookies.cap_access ?? '')
  if (route.method !== 'GET') requireCsrf(session, request.headers['x-csrf-token'] as string | undefined)
  return caller
}

/** @throws AppError `usage` naming every field that is wrong */
function validated(schema: z.ZodType | undefined, value: unknown, place: string): unknown {
  if (schema === undefined) return undefined
  const result = schema.safeParse(value ?? {})
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) => `${[place, ...issue.path].join('.')}: ${issue.message}`)
  throw new AppError('usage', problems.join('; '), { hint: 'GET /api/v1/openapi.json describes every request' })
}

function send(reply: FastifyReply, route: Route, result: unknown): unknown {
  void reply.header('cache-control', 'no-store')
  if (route.reply === 'empty') return reply.code(204).send()
  if (route.reply === 'events')
    return reply.type('text/event-stream').send(Readable.from(eventText(result as AsyncIterable<unknown>)))
  if (result instanceof Download) {
    void reply.header('content-disposition', `attachment; filename="${result.fileName}"`)
    return reply.type(result.contentType).send(result.content)
  }
  return reply.code(route.method === 'POST' && route.path.endsWith('s') ? 201 : 200).send((route.reply as z.ZodType).parse(result))
}

/** Server-sent events (HTML Living Standard, 9.2): one JSON value each. */
async function* eventText(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const value of values) yield `data: ${JSON.stringify(value)}\n\n`
}

function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  return gone.signal
}

function sendProblem(parts: HttpParts, reply: FastifyReply, error: unknown): FastifyReply {
  const known = error instanceof AppError ? error : translated(error)
  const problem = problemOf(known)
  if (problem.status >= 500) parts.log.error({ error: known instanceof Error ? known.stack : String(known) }, 'a request failed')
  return reply.code(problem.status).type('application/problem+json').send(problem)
}

/** What the HTTP framework itself refuses. */
function translated(error: unknown): unknown {
  const status = (error as { statusCode?: number }).statusCode ?? 500
  if (status < 400 || status >= 500) return error
  return new AppError('usage', (error as Error).message, { cause: error })
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?')[0] as string
}
