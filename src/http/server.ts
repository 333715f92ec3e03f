import { createHash } from 'node:crypto'
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
import { onceForKey } from './idempotency.ts'
import { requestFinished } from './metrics.ts'
import type { HttpParts } from './parts.ts'
import { problemOf } from './problem.ts'
import { Download, isCreation, type Route, successStatus } from './route.ts'
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
    frameworkErrors: (error, _request, reply) => sendProblem(parts, reply, error),
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
      refuseOutsideProject(caller, route)
      const context = {
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
      }
      const handle = () => route.handle(context as never)
      const answer = () => answerChange({ parts, request, reply, route, context, handle })
      if (route.method !== 'GET') return route.changesNothing ? answer() : parts.change(answer)
      const result = await handle()
      if (isJson(route, result)) return sendTagged(request, reply, (route.reply as z.ZodType).parse(result))
      return send(reply, route, result)
    },
  })
}

interface ChangeInput {
  parts: HttpParts
  request: FastifyRequest
  reply: FastifyReply
  route: Route
  context: { params: unknown; query: unknown; caller: Caller }
  handle(): Promise<unknown>
}

async function answerChange({ parts, request, reply, route, context, handle }: ChangeInput): Promise<unknown> {
  await requireMatch(request.headers['if-match'], route, context)
  const key = request.headers['idempotency-key']
  if (typeof key !== 'string' || !isCreation(route)) return send(reply, route, await handle())
  const asked = [route.method, request.url, request.body ?? null]
  const made = async () => (route.reply as z.ZodType).parse(await handle())
  return sendJson(reply, route, await onceForKey(parts, { key, caller: context.caller, request: asked }, made))
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

/** @throws AppError `forbidden` */
function refuseOutsideProject(caller: Caller, route: Route): void {
  if (caller.projectId === undefined || route.isForProjects || route.role === 'public') return
  throw new AppError('forbidden', `"${caller.actor.name}" may use one project only, and ${route.method} ${route.path} is about all`)
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
  return sendJson(reply, route, (route.reply as z.ZodType).parse(result))
}

function sendJson(reply: FastifyReply, route: Route, value: unknown): FastifyReply {
  return reply.header('cache-control', 'no-store').code(successStatus(route)).send(value)
}

function isJson(route: Route, result: unknown): boolean {
  return typeof route.reply !== 'string' && !(result instanceof Download)
}

/** A strong tag of what is sent (RFC 9110, 8.8.3): whoever has it already is told so. */
function sendTagged(request: FastifyRequest, reply: FastifyReply, value: unknown): FastifyReply {
  const tag = tagOf(value)
  void reply.header('cache-control', 'private, no-cache').header('etag', tag)
  if (request.headers['if-none-match'] === tag) return reply.code(304).send()
  return reply.send(value)
}

function tagOf(value: unknown): string {
  return `"${createHash('sha256').update(JSON.stringify(value)).digest('base64url').slice(0, 27)}"`
}

/** A change that was thought out for another state of the thing is refused (RFC 9110, 13.1.1). @throws AppError `preflight` · `usage` */
async function requireMatch(wanted: string | undefined, route: Route, context: { params: unknown; query: unknown }): Promise<void> {
  if (wanted === undefined) return
  const path = route.path.replace(/(\{\w+\}).*$/, '$1')
  const shown = allRoutes.find(
    (candidate) => candidate.method === 'GET' && candidate.path === path && typeof candidate.reply !== 'string',
  )
  if (shown === undefined) throw new AppError('usage', `"If-Match" has no meaning for ${route.path}`)
  const now = tagOf((shown.reply as z.ZodType).parse(await shown.handle(context as never)))
  if (wanted !== '*' && wanted !== now)
    throw new AppError('preflight', 'it was changed since you looked at it', { hint: 'get it again, and decide again' })
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
  if (problem.status >= 500 && problem.code !== 'paused')
    parts.log.error({ error: known instanceof Error ? known.stack : String(known) }, 'a request failed')
  if (problem.status === 429 || problem.status === 503) void reply.header('retry-after', retryAfterSeconds(known))
  return reply.code(problem.status).type('application/problem+json').send(problem)
}

const defaultRetrySeconds = 5

function retryAfterSeconds(error: unknown): number {
  const waitMs = error instanceof AppError ? Number(error.details?.retry_after_ms ?? 0) : 0
  return waitMs > 0 ? Math.ceil(waitMs / 1000) : defaultRetrySeconds
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
