import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import type { AccessParts } from './access.ts'
import type { Session, User } from './collections.ts'
import { checkPassword, hashPassword } from './password.ts'
import { type Caller, type Role, requireGrantable, requireRole } from './roles.ts'
import { newUser } from './setup.ts'

/** @throws AppError `forbidden` · `exists` · `usage` */
export async function createUser(
  parts: AccessParts,
  caller: Caller,
  input: { email: string; name: string; role: Role; password: Secret },
): Promise<User> {
  requireGrantable(caller, input.role)
  const user = await newUser({ ...input, isDrill: false }, parts.clock.now())
  try {
    await parts.store.commit([
      { insert: 'users', document: user },
      audited(caller.actor, 'user.created', user._id, { email: user.email, role: user.role }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists')) throw new AppError('exists', `there is a user "${user.email}" already`, { cause: error })
    throw error
  }
  return user
}

/** Removes a user and ends their sessions. @throws AppError `not-found` · `forbidden` a higher role · `conflict` the last owner */
export async function removeUser(parts: AccessParts, caller: Caller, id: string): Promise<void> {
  const user = await requireUser(parts, id)
  requireGrantable(caller, user.role)
  if (user.role === 'owner' && (await parts.store.count('users', { role: 'owner' })) === 1) {
    throw new AppError('conflict', `"${user.email}" is the last owner`, { hint: 'make another owner first' })
  }
  await parts.store.commit([
    { remove: 'users', id },
    ...(await sessionRemovals(parts, id)),
    audited(caller.actor, 'user.removed', id, { email: user.email }),
  ])
}

/** Sets a new password and ends the user's sessions. @throws AppError `not-found` · `forbidden` · `usage` */
export async function setPassword(parts: AccessParts, caller: Caller, id: string, password: Secret): Promise<void> {
  const user = await requireUser(parts, id)
  if (caller.actor.id !== id) {
    requireRole(caller, 'admin')
    requireGrantable(caller, user.role)
  }
  checkPassword(password)
  const changed: User = { ...user, password_hash: await hashPassword(password) }
  await parts.store.commit([
    { replace: 'users', document: changed },
    ...(await sessionRemovals(parts, id)),
    audited(caller.actor, 'user.password-changed', id),
  ])
}

/** The user with this id or e-mail address. @throws AppError `not-found` */
export async function requireUser(parts: AccessParts, idOrEmail: string): Promise<User> {
  const byId = await parts.store.get<User>('users', idOrEmail)
  const user = byId ?? (await parts.store.find<User>('users', { where: { email: idOrEmail.toLowerCase() } })).items[0]
  if (user === undefined) throw new AppError('not-found', `there is no user "${idOrEmail}"`)
  return user
}

async function sessionRemovals(parts: AccessParts, userId: string) {
  const { items } = await parts.store.find<Session>('sessions', { where: { user_id: userId }, limit: 500 })
  return items.map((session) => ({ remove: 'sessions', id: session._id }))
}
