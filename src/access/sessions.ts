import { createHash } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { dayMs, minuteMs } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import { equalsInConstantTime, Secret } from '../core/secret.ts'
import { type AccessParts, newToken, tokenHash } from './access.ts'
import type { LoginThrottle, Session, User } from './collections.ts'
import { hashPassword, isPassword } from './password.ts'
import type { Caller } from './roles.ts'

export const accessTokenMs = 15 * minuteMs
export const refreshTokenMs = 7 * dayMs

/** What the browser gets; never stored as it is. */
export interface SessionTokens {
  access: string
  refresh: string
  csrf: string
  user: User
}

const maxFailures = 5
const blockMs = 15 * minuteMs
let decoyHash: Promise<string> | undefined

/**
 * Checks a password and starts a session. Takes as long for an unknown account as for a wrong password.
 * @throws AppError `unauthenticated` · `throttled` after five failures of one account from one address, for 15 minutes
 */
export async function logIn(
  parts: AccessParts,
  input: { email: string; password: Secret; address: string },
): Promise<SessionTokens> {
  const email = input.email.trim().toLowerCase()
  const throttleId = createHash('sha256').update(`${email}\0${input.address}`).digest('hex')
  await countAttempt(parts, throttleId)
  const { items } = await parts.store.find<User>('users', { where: { email } })
  const user = items[0]
  decoyHash ??= hashPassword(new Secret(newToken()))
  const isRight = await isPassword(input.password, user?.password_hash ?? (await decoyHash))
  if (user === undefined || !isRight || user.is_drill !== parts.isDrill) {
    throw new AppError('unauthenticated', 'e-mail address or password is wrong')
  }
  await parts.store.commit([{ remove: 'login_throttle', id: throttleId }]).catch(() => {})
  return startSession(parts, user)
}

/**
 * Exchanges a refresh token for new tokens. A token that was exchanged before was stolen from one of two holders: the session ends.
 * @throws AppError `unauthenticated`
 */
export async function refreshSession(parts: AccessParts, refreshToken: string): Promise<SessionTokens> {
  const hash = tokenHash(parts.jwtSecret, refreshToken)
  const now = parts.clock.now()
  const { items: replayed } = await parts.store.find<Session>('sessions', { where: { previous_refresh_hash: hash } })
  if (replayed[0] !== undefined) {
    const actor = { kind: 'user', id: replayed[0].user_id, name: replayed[0].user_id } as const
    await parts.store.commit([
      { remove: 'sessions', id: replayed[0]._id },
      audited(actor, 'session.refresh-token-reused', replayed[0]._id),
    ])
    throw new AppError('unauthenticated', 'this refresh token was used before, so the session was ended', { hint: 'log in again' })
  }
  const { items } = await parts.store.find<Session>('sessions', { where: { refresh_hash: hash } })
  const session = items[0]
  const user = session && (await parts.store.get<User>('users', session.user_id))
  if (session === undefined || user === undefined || session.expires_at <= now) throw notLoggedIn()
  const tokens = { access: newToken(), refresh: newToken(), csrf: session.csrf_token, user }
  const next: Session = {
    ...session,
    access_hash: tokenHash(parts.jwtSecret, tokens.access),
    access_expires_at: new Date(now.getTime() + accessTokenMs),
    refresh_hash: tokenHash(parts.jwtSecret, tokens.refresh),
    previous_refresh_hash: hash,
  }
  await parts.store.commit([{ replace: 'sessions', document: next, expect: { refresh_hash: hash } }])
  return tokens
}

/** Whose access token this is, and the session's CSRF token. @throws AppError `unauthenticated` */
export async function authenticateSession(
  parts: AccessParts,
  accessToken: string,
): Promise<{ caller: Caller; session: Session; user: User }> {
  const { items } = await parts.store.find<Session>('sessions', { where: { access_hash: tokenHash(parts.jwtSecret, accessToken) } })
  const session = items[0]
  const user = session && (await parts.store.get<User>('users', session.user_id))
  if (session === undefined || user === undefined || session.access_expires_at <= parts.clock.now()) throw notLoggedIn()
  return { caller: { actor: { kind: 'user', id: user._id, name: user.email }, role: user.role }, session, user }
}

/** A request that changes something repeats the CSRF token of its session. @throws AppError `forbidden` */
export function requireCsrf(session: Session, token: string | undefined): void {
  if (token === undefined || !equalsInConstantTime(token, session.csrf_token)) {
    throw new AppError('forbidden', 'csrf_validation_failed', {
      hint: 'send the value of the cookie cap_csrf as header X-CSRF-Token',
    })
  }
}

export async function logOut(parts: AccessParts, session: Session): Promise<void> {
  await parts.store.commit([{ remove: 'sessions', id: session._id }])
}

async function startSession(parts: AccessParts, user: User): Promise<SessionTokens> {
  const now = parts.clock.now()
  const tokens = { access: newToken(), refresh: newToken(), csrf: newToken(), user }
  const session: Session = {
    _id: newId(now.getTime()),
    user_id: user._id,
    access_hash: tokenHash(parts.jwtSecret, tokens.access),
    access_expires_at: new Date(now.getTime() + accessTokenMs),
    refresh_hash: tokenHash(parts.jwtSecret, tokens.refresh),
    previous_refresh_hash: '',
    csrf_token: tokens.csrf,
    expires_at: new Date(now.getTime() + refreshTokenMs),
  }
  const actor = { kind: 'user', id: user._id, name: user.email } as const
  await parts.store.commit([{ insert: 'sessions', document: session }, audited(actor, 'session.started', session._id)])
  return tokens
}

/** Counts before the password is checked, so that guesses sent at once do not all slip through. A success takes the count away. */
async function countAttempt(parts: AccessParts, id: string, triesLeft = 10): Promise<void> {
  const now = parts.clock.now()
  const before = await parts.store.get<LoginThrottle>('login_throttle', id)
  const isFresh = before !== undefined && before.expires_at > now
  if (isFresh && before.failures >= maxFailures) {
    throw new AppError('throttled', 'too many failed logins', {
      hint: `try again after ${before.expires_at.toISOString()}`,
      details: { retry_after_ms: before.expires_at.getTime() - now.getTime() },
    })
  }
  const document: LoginThrottle = {
    _id: id,
    failures: (isFresh ? before.failures : 0) + 1,
    expires_at: new Date(now.getTime() + blockMs),
  }
  const change =
    before === undefined
      ? { insert: 'login_throttle', document }
      : { replace: 'login_throttle', document, expect: { failures: before.failures } }
  try {
    await parts.store.commit([change])
  } catch (error) {
    const isRace = isAppError(error, 'conflict') || isAppError(error, 'exists')
    if (!isRace || triesLeft === 0) throw error
    await countAttempt(parts, id, triesLeft - 1)
  }
}

function notLoggedIn(): AppError {
  return new AppError('unauthenticated', 'not logged in, or the session has ended')
}
