import { z } from 'zod'
import { AppError } from '../core/app-error.ts'
import { exampleOf } from './openapi-examples.ts'
import { isCreation, type Route, route, successStatus } from './route.ts'

type Json = Record<string, unknown>

/** The description of the API (OpenAPI 3.1), from the schemas that validate. Made when it is first asked for. */
export function openApiRoutes(routes: readonly Route[]): Route[] {
  let document: Json | undefined
  return [
    route({
      method: 'GET',
      path: '/api/v1/openapi.json',
      summary: 'this description',
      tag: 'status',
      role: 'public',
      reply: z.record(z.string(), z.unknown()),
      async handle({ parts }) {
        document ??= describe(routes, parts.appVersion)
        return document
      },
    }),
  ]
}

function describe(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Json> = {}
  for (const entry of routes) paths[entry.path] = { ...paths[entry.path], [entry.method.toLowerCase()]: operation(entry) }
  return {
    openapi: '3.1.0',
    info: { title: 'CertAutopilot', version, description: 'Issues, renews and watches TLS certificates.' },
    security: [{ apiKey: [] }, { session: [] }],
    paths,
    components: {
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'an API key, cap_...' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'cap_access',
          description: 'requests that change something also need X-CSRF-Token',
        },
      },
      schemas: { Problem: problemSchema },
    },
  }
}

const tagHeader = {
  ETag: { schema: { type: 'string' }, description: 'for "If-Match" of a change and "If-None-Match" of the next look' },
}

const problemSchema: Json = {
  type: 'object',
  description: 'RFC 9457',
  required: ['type', 'title', 'status', 'code'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string' },
    hint: { type: 'string' },
    details: {},
  },
}

const problemExample: Json = {
  type: 'about:blank',
  title: 'there is no certificate "nobody"',
  status: 404,
  code: 'not-found',
  hint: '"certautopilot cert list" shows them',
}

function operation(entry: Route): Json {
  const parameters = [...parametersOf(entry.params, 'path'), ...parametersOf(entry.query, 'query'), ...headersOf(entry)]
  const problem = {
    description: 'what went wrong',
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' }, example: problemExample } },
  }
  return {
    operationId: `${entry.method.toLowerCase()}${entry.path.replaceAll(/[^A-Za-z]+(\w?)/g, (_match, letter: string) => letter.toUpperCase())}`,
    summary: entry.summary,
    tags: [entry.tag],
    ...(entry.role === 'public' ? { security: [] } : { description: `Needs the role ${entry.role}.` }),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(entry.body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': withExample(entry.body, 'input') } } }),
    responses: { ...success(entry), default: problem },
  }
}

function headersOf(entry: Route): Json[] {
  const text = (name: string, description: string) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  })
  if (isCreation(entry)) return [text('Idempotency-Key', 'a repetition with the same key gets the first answer, for 24 hours')]
  return entry.method !== 'GET' && entry.path.includes('{id}')
    ? [text('If-Match', 'the ETag of the state that this change is meant for')]
    : []
}

function success(entry: Route): Json {
  if (entry.reply === 'empty') return { 204: { description: 'done' } }
  if (entry.reply === 'events')
    return {
      200: { description: 'events', content: { 'text/event-stream': { schema: { type: 'string' }, example: eventExample } } },
    }
  if (entry.reply === 'download')
    return {
      200: { description: 'a file', content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } },
    }
  const content = { 'application/json': withExample(entry.reply, 'output') }
  if (entry.method === 'GET')
    return { 200: { description: 'done', headers: tagHeader, content }, 304: { description: 'it is as "If-None-Match" says' } }
  return { [successStatus(entry)]: { description: 'done', content } }
}

const eventExample = 'data: {"_id":"06h0sv1pxc0017cztg3f1sstqg","state":"running"}\n\n'

function withExample(schema: z.ZodType, io: 'input' | 'output'): Json {
  const described = jsonSchema(schema, io)
  return { schema: described, example: exampleOf(described) }
}

function parametersOf(schema: z.ZodType | undefined, place: 'path' | 'query'): Json[] {
  if (schema === undefined) return []
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as {
    properties?: Record<string, Json>
    required?: string[]
  }
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: property,
    ...(place === 'path' ? { example: exampleOf(property, name) } : {}),
  }))
}

/** Dates leave as text, although the code holds them as dates. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  try {
    const { $schema: _dialect, ...described } = z.toJSONSchema(schema, {
      io,
      unrepresentable: 'any',
      override: ({ zodSchema, jsonSchema: target }) => {
        if (zodSchema._zod.def.type === 'pipe' && io === 'output') Object.assign(target, { type: 'string', format: 'date-time' })
      },
    }) as Json
    return described
  } catch (error) {
    throw new AppError('failed', 'a schema cannot be described', { cause: error })
  }
}
