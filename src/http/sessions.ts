import { z } from 'zod'
import { authenticateSession, logIn, logOut, refreshSession } from '../access/sessions.ts'
import { completeSetup, isSetUp, requireSetupToken } from '../access/setup.ts'
import { audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'
import { type Route, route } from './route.ts'
import { userReply } from './schemas.ts'

const email = z.string().min(3).max(320)
const password = z.string().min(1).max(1024)

export const sessionRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/setup',
    summary: 'whether the first owner exists',
    tag: 'setup',
    role: 'public',
    reply: z.object({ is_set_up: z.boolean() }),
    handle: async ({ parts }) => ({ is_set_up: await isSetUp(parts.store) }),
  }),
  route({
    method: 'POST',
    path: '/api/v1/setup',
    summary: 'make the first owner, with the one-time token of the host',
    tag: 'setup',
    role: 'public',
    body: z.strictObject({ token: z.string().min(1).max(200), email, password }),
    reply: userReply,
    async handle({ parts, body }) {
      const owner = await completeSetup(
        parts.access,
        { ...body, password: new Secret(body.password) },
        await parts.setupToken(),
        parts.drillPassword,
      )
      await parts.dropSetupToken()
      return owner
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/setup/recovery-kit',
    summary: 'the recovery kit, for whoever has the setup token, while there is no owner',
    tag: 'setup',
    role: 'public',
    body: z.strictObject({ token: z.string().min(1).max(200) }),
    reply: z.object({ kit: z.string(), path: z.string() }),
    async handle({ parts, body }) {
      if (await isSetUp(parts.store)) throw new AppError('conflict', 'setup is completed: the kit is a file on the host')
      requireSetupToken(body.token, await parts.setupToken())
      return parts.recoveryKit()
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/recovery-kit',
    summary: 'the recovery kit, as long as it is on this host; audited',
    tag: 'setup',
    role: 'owner',
    reply: z.object({ kit: z.string(), path: z.string() }),
    async handle({ parts, caller }) {
      const kit = await parts.recoveryKit()
      await parts.store.commit([audited(caller.actor, 'recovery-kit.shown', 'host', {})])
      return kit
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/auth/login',
    summary: 'log in; sets the cookies cap_access, cap_refresh and cap_csrf',
    tag: 'auth',
    role: 'public',
    body: z.strictObject({ email, password }),
    reply: userReply,
    async handle({ parts, body, address, setSession }) {
      const tokens = await logIn(parts.access, { email: body.email, password: new Secret(body.password), address })
      setSession(tokens)
      return tokens.user
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/auth/refresh',
    summary: 'exchange the refresh token for new tokens',
    tag: 'auth',
    role: 'public',
    reply: userReply,
    async handle({ parts, cookies, setSession }) {
      const tokens = await refreshSession(parts.access, cookies.cap_refresh ?? '')
      setSession(tokens)
      return tokens.user
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/auth/logout',
    summary: 'end this session',
    tag: 'auth',
    role: 'viewer',
    reply: 'empty',
    async handle({ parts, cookies, setSession }) {
      const { session } = await authenticateSession(parts.access, cookies.cap_access ?? '')
      await logOut(parts.access, session)
      setSession(undefined)
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/auth/me',
    summary: 'who is logged in',
    tag: 'auth',
    role: 'viewer',
    reply: userReply,
    async handle({ parts, cookies, caller }) {
      if (caller.actor.kind !== 'user') throw new AppError('not-found', `"${caller.actor.name}" is no user`)
      return (await authenticateSession(parts.access, cookies.cap_access ?? '')).user
    },
  }),
]
