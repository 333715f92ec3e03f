import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import { equalsInConstantTime, type Secret } from '../core/secret.ts'
import type { Store } from '../store/store.ts'
import type { AccessParts } from './access.ts'
import type { SetupRecord, User } from './collections.ts'
import { checkPassword, hashPassword } from './password.ts'

export interface SetupInput {
  token: string
  email: string
  password: Secret
}

export async function isSetUp(store: Store): Promise<boolean> {
  return (await store.get('setup', 'setup')) !== undefined
}

/**
 * Makes the first owner. Of several requests, also to several processes, exactly one wins.
 * @param wantedToken from the 0600 file of this host
 * @param drillPassword of the user that drills log in with
 * @throws AppError `unauthenticated` wrong token · `conflict` setup was completed before · `usage` e-mail address or password
 */
export async function completeSetup(
  parts: AccessParts,
  input: SetupInput,
  wantedToken: string,
  drillPassword: Secret,
): Promise<User> {
  if (await isSetUp(parts.store)) throw alreadyDone()
  requireSetupToken(input.token, wantedToken)
  const now = parts.clock.now()
  const owner = await newUser({ email: input.email, name: 'owner', role: 'owner', password: input.password, isDrill: false }, now)
  const drill = await newUser(
    { email: 'drill@localhost', name: 'restore drill', role: 'operator', password: drillPassword, isDrill: true },
    now,
  )
  const record: SetupRecord = { _id: 'setup', owner_id: owner._id, completed_at: now }
  try {
    await parts.store.commit([
      { insert: 'setup', document: record },
      { insert: 'users', document: owner },
      { insert: 'users', document: drill },
      audited({ kind: 'user', id: owner._id, name: owner.email }, 'setup.completed', owner._id),
    ])
  } catch (error) {
    if (isAppError(error, 'exists') || isAppError(error, 'conflict')) throw alreadyDone()
    throw error
  }
  return owner
}

/** @throws AppError `unauthenticated` */
export function requireSetupToken(given: string, wanted: string): void {
  if (wanted !== '' && equalsInConstantTime(given, wanted)) return
  throw new AppError('unauthenticated', 'the setup token is wrong', { hint: 'it stands in the file run/setup-token on the host' })
}

export interface NewUser {
  email: string
  name: string
  role: User['role']
  password: Secret
  isDrill: boolean
}

/** @throws AppError `usage` */
export async function newUser(input: NewUser, now: Date): Promise<User> {
  checkPassword(input.password)
  return {
    _id: newId(now.getTime()),
    email: normalEmail(input.email),
    name: input.name,
    role: input.role,
    password_hash: await hashPassword(input.password),
    is_drill: input.isDrill,
    created_at: now,
  }
}

function normalEmail(text: string): string {
  const email = text.trim().toLowerCase()
  if (!/^[^\s@]{1,64}@[^\s@]{1,255}$/.test(email)) throw new AppError('usage', `"${text}" is not an e-mail address`)
  return email
}

function alreadyDone(): AppError {
  return new AppError('conflict', 'setup already completed', { hint: 'log in; an owner or admin can add users' })
}
