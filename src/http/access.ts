import { z } from 'zod'
import { createApiKey, revokeApiKey } from '../access/api-keys.ts'
import type { ApiKey, User } from '../access/collections.ts'
import { roles } from '../access/roles.ts'
import { createUser, removeUser, requireUser, setPassword } from '../access/users.ts'
import { requireProject } from '../certificates/projects.ts'
import { Secret } from '../core/secret.ts'
import { idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { apiKeyReply, userReply } from './schemas.ts'

const password = z.string().min(1).max(1024)

export const accessRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/users',
    summary: 'list users',
    tag: 'users',
    role: 'admin',
    query: z.strictObject(pageQuery),
    reply: pageOf(userReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<User>('users', { limit: query.limit, after: query.cursor })
      return { items: page.items.filter((user) => !user.is_drill), next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/users',
    summary: 'add a user',
    tag: 'users',
    role: 'admin',
    body: z.strictObject({
      email: z.string().min(3).max(320),
      name: z.string().max(200).default(''),
      role: z.enum(roles),
      password,
    }),
    reply: userReply,
    async handle({ parts, caller, body }) {
      return createUser(parts.access, caller, { ...body, password: new Secret(body.password) })
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/users/{id}',
    summary: 'remove a user and end their sessions',
    tag: 'users',
    role: 'admin',
    params: idParams,
    reply: 'empty',
    async handle({ parts, caller, params }) {
      const user = await requireUser(parts.access, params.id)
      await removeUser(parts.access, caller, user._id)
    },
  }),
  route({
    method: 'PUT',
    path: '/api/v1/users/{id}/password',
    summary: 'set a password; ends the sessions of the user',
    tag: 'users',
    role: 'viewer',
    params: idParams,
    body: z.strictObject({ password }),
    reply: 'empty',
    async handle({ parts, caller, params, body }) {
      const user = await requireUser(parts.access, params.id)
      await setPassword(parts.access, caller, user._id, new Secret(body.password))
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/api-keys',
    summary: 'list API keys',
    tag: 'users',
    role: 'admin',
    query: z.strictObject(pageQuery),
    reply: pageOf(apiKeyReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<ApiKey>('api_keys', { limit: query.limit, after: query.cursor })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/api-keys',
    summary: 'make an API key; it is shown in this reply and never again',
    tag: 'users',
    role: 'admin',
    body: z.strictObject({
      name: z.string().min(1).max(200),
      role: z.enum(['admin', 'operator', 'viewer']),
      project: z.string().max(100).optional().describe('id or name: the key sees this project and nothing else'),
    }),
    reply: apiKeyReply.extend({ key: z.string() }),
    async handle({ parts, caller, body }) {
      const { apiKey, key } = await createApiKey(parts.access, caller, {
        name: body.name,
        role: body.role,
        projectId: body.project === undefined ? undefined : (await requireProject(parts.store, body.project))._id,
      })
      return { ...apiKey, key: key.reveal() }
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/api-keys/{id}',
    summary: 'revoke an API key',
    tag: 'users',
    role: 'admin',
    params: idParams,
    reply: apiKeyReply,
    async handle({ parts, caller, params }) {
      return revokeApiKey(parts.access, caller, params.id)
    },
  }),
]
