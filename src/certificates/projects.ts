import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import type { Store } from '../store/store.ts'
import type { Project } from './collections.ts'
import type { Request } from './parts.ts'

/** @throws AppError `usage` the name · `exists` */
export async function createProject(store: Store, request: Request, name: string): Promise<Project> {
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name))
    throw new AppError('usage', `"${name}" is no project name: use lower case letters, digits and dashes`)
  const project: Project = { _id: newId(), name, created_at: new Date() }
  try {
    await store.commit([
      { insert: 'projects', document: project },
      audited(request.actor, 'project.created', project._id, { name }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists')) throw new AppError('exists', `there is a project "${name}" already`, { cause: error })
    throw error
  }
  return project
}

/** The project with this id or name. @throws AppError `not-found` */
export async function requireProject(store: Store, idOrName: string): Promise<Project> {
  const byId = await store.get<Project>('projects', idOrName)
  const project = byId ?? (await store.find<Project>('projects', { where: { name: idOrName } })).items[0]
  if (project === undefined)
    throw new AppError('not-found', `there is no project "${idOrName}"`, { hint: '"certautopilot project list" shows them' })
  return project
}

/** @throws AppError `not-found` · `conflict` it still has certificates */
export async function removeProject(store: Store, request: Request, idOrName: string): Promise<void> {
  const project = await requireProject(store, idOrName)
  const certificates = await store.count('certificates', { project_id: project._id })
  if (certificates > 0) throw new AppError('conflict', `project "${project.name}" still has ${certificates} certificates`)
  await store.commit([
    { remove: 'projects', id: project._id },
    audited(request.actor, 'project.removed', project._id, { name: project.name }),
  ])
}
