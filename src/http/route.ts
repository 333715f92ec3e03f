import { z } from 'zod'
import type { Caller, Role } from '../access/roles.ts'
import type { SessionTokens } from '../access/sessions.ts'
import type { HttpParts } from './parts.ts'

/** What a handler gets: input that was validated, and who asks. */
export interface RouteContext<Params, Query, Body> {
  parts: HttpParts
  caller: Caller
  params: Params
  query: Query
  body: Body
  address: string
  cookies: Readonly<Record<string, string>>
  /** Aborts when the client is gone. */
  signal: AbortSignal
  /** Sets the cookies of a session, or clears them. */
  setSession(tokens: SessionTokens | undefined): void
}

/** A file instead of JSON. */
export class Download {
  readonly contentType: string
  readonly fileName: string
  readonly content: Buffer | string

  constructor(contentType: string, fileName: string, content: Buffer | string) {
    this.contentType = contentType
    this.fileName = fileName
    this.content = content
  }
}

export interface Route {
  method: 'GET' | 'POST' | 'DELETE' | 'PUT'
  path: string
  summary: string
  tag: string
  /** The least role; `public` needs no login. */
  role: Role | 'public'
  /** It is no GET, but changes nothing here: it is answered while changes are paused, and keeps no pause waiting. */
  changesNothing?: boolean | undefined
  /** A caller who has only one project may use it, and the handler shows nothing of others. */
  isForProjects?: boolean | undefined
  params: z.ZodType | undefined
  query: z.ZodType | undefined
  body: z.ZodType | undefined
  /** What a reply holds; anything else is cut off. `download` for files; `events` for an endless list (server-sent events). */
  reply: z.ZodType | 'download' | 'empty' | 'events'
  handle(context: RouteContext<never, never, never>): Promise<unknown>
}

interface RouteInput<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  method: Route['method']
  path: string
  summary: string
  tag: string
  role: Route['role']
  isForProjects?: boolean
  changesNothing?: boolean
  params?: P
  query?: Q
  body?: B
  reply: Route['reply']
  handle(context: RouteContext<z.output<P>, z.output<Q>, z.output<B>>): Promise<unknown>
}

/** Declares a route; the one schema per part validates and documents. */
export function route<
  P extends z.ZodType = z.ZodUndefined,
  Q extends z.ZodType = z.ZodUndefined,
  B extends z.ZodType = z.ZodUndefined,
>(input: RouteInput<P, Q, B>): Route {
  return { ...input, params: input.params, query: input.query, body: input.body, handle: input.handle as Route['handle'] }
}

export const idParams = z.strictObject({ id: z.string().min(1).max(300) })

/** Query members of every list. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(500).default(50).describe('documents per page'),
  cursor: z.string().max(2000).optional().describe('"next_cursor" of the page before'),
}

export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() })
}

export const timestamp = z.date().transform((date) => date.toISOString())

/** What makes a thing: it answers 201, and may be repeated under an `Idempotency-Key`. A reply that shows a secret once is never kept. */
export function isCreation(entry: Route): boolean {
  return entry.method === 'POST' && entry.path.endsWith('s') && typeof entry.reply !== 'string' && !showsSecret.has(entry.path)
}

const showsSecret = new Set(['/api/v1/api-keys'])

export function successStatus(entry: Route): number {
  return entry.method === 'POST' && entry.path.endsWith('s') ? 201 : 200
}
