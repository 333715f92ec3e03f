import type { Actor } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'

/** From the most to the least powerful. */
export const roles = ['owner', 'admin', 'operator', 'viewer'] as const
export type Role = (typeof roles)[number]

/** Who makes a request, and what they may do. */
export interface Caller {
  actor: Actor
  role: Role
  /** The only project that this caller may see; any if missing. */
  projectId?: string | undefined
}

export function isAtLeast(role: Role, needed: Role): boolean {
  return roles.indexOf(role) <= roles.indexOf(needed)
}

/** @throws AppError `forbidden` */
export function requireRole(caller: Caller, needed: Role): void {
  if (isAtLeast(caller.role, needed)) return
  throw new AppError('forbidden', `this needs the role "${needed}", "${caller.actor.name}" has "${caller.role}"`)
}

/** What is in another project does not exist for a caller who has only one. @throws AppError `not-found` */
export function requireVisible(caller: Caller, projectId: string, what: string): void {
  if (caller.projectId === undefined || caller.projectId === projectId) return
  throw new AppError('not-found', `there is no ${what}`)
}

/** Nobody gives away more than they have, and nobody but an owner makes owners. @throws AppError `forbidden` */
export function requireGrantable(caller: Caller, role: Role): void {
  requireRole(caller, role === 'owner' ? 'owner' : role)
}
