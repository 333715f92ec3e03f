import { z } from 'zod'
import type { Project } from '../certificates/collections.ts'
import { createProject, removeProject } from '../certificates/projects.ts'
import { idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { projectReply } from './schemas.ts'

export const projectRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/projects',
    summary: 'list projects',
    tag: 'projects',
    role: 'viewer',
    query: z.strictObject(pageQuery),
    reply: pageOf(projectReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<Project>('projects', { limit: query.limit, after: query.cursor })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/projects',
    summary: 'make a project',
    tag: 'projects',
    role: 'admin',
    body: z.strictObject({ name: z.string().min(1).max(63) }),
    reply: projectReply,
    async handle({ parts, caller, body }) {
      return createProject(parts.store, caller, body.name)
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/projects/{id}',
    summary: 'remove a project without certificates',
    tag: 'projects',
    role: 'admin',
    params: idParams,
    reply: 'empty',
    async handle({ parts, caller, params }) {
      await removeProject(parts.store, caller, params.id)
    },
  }),
]
