import { z } from 'zod'
import { requireCertificate } from '../certificates/list-certificates.ts'
import { Secret } from '../core/secret.ts'
import type { DeployTarget } from '../deploy/collections.ts'
import { targetKinds } from '../deploy/deploy.ts'
import { attachTarget, deployJobKind, detachTarget } from '../deploy/deploy-certificate.ts'
import { createTarget, deploymentsOf, removeTarget } from '../deploy/targets.ts'
import { queuedJob } from '../jobs/job.ts'
import { idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { deploymentReply, deployTargetReply, jobReply } from './schemas.ts'

const tag = 'deploy'

export const deployRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/deploy-targets',
    summary: 'list places where certificates are put in use',
    tag,
    role: 'viewer',
    query: z.strictObject(pageQuery),
    reply: pageOf(deployTargetReply),
    async handle({ parts, query }) {
      const page = await parts.store.find<DeployTarget>('deploy_targets', { limit: query.limit, after: query.cursor })
      return { items: page.items, next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/deploy-targets',
    summary: 'add a place; folders and commands must be allowed in config.yaml on the host',
    tag,
    role: 'admin',
    body: z.strictObject({
      name: z.string().min(1).max(64),
      kind: z.enum(targetKinds),
      settings: z.record(z.string().max(50), z.string().max(2000)).default({}),
      secret: z.string().max(10_000).default(''),
    }),
    reply: deployTargetReply,
    handle: async ({ parts, caller, body }) =>
      createTarget(parts.deploy, caller.actor, { ...body, secret: new Secret(body.secret) }),
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/deploy-targets/{id}',
    summary: 'forget a place; what was put there stays',
    tag,
    role: 'admin',
    params: idParams,
    reply: 'empty',
    handle: async ({ parts, caller, params }) => removeTarget(parts.deploy, caller.actor, params.id),
  }),
  route({
    method: 'GET',
    path: '/api/v1/certificates/{id}/deployments',
    summary: 'where a certificate is in use',
    tag,
    role: 'viewer',
    params: idParams,
    reply: z.object({ items: z.array(deploymentReply) }),
    async handle({ parts, params }) {
      const certificate = await requireCertificate(parts.store, params.id)
      return { items: await deploymentsOf(parts.store, certificate._id) }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/certificates/{id}/deployments',
    summary: 'put a certificate in use at a place, now and after each renewal; follow the job',
    tag,
    role: 'operator',
    params: idParams,
    body: z.strictObject({ target: z.string().max(100).describe('id or name') }),
    reply: deploymentReply.extend({ job_id: z.string() }),
    async handle({ parts, caller, params, body }) {
      const { deployment, job } = await attachTarget(parts.deploy, caller.actor, { certificateId: params.id, target: body.target })
      return { ...deployment, job_id: job._id }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/deployments/{id}/deploy',
    summary: 'put a certificate in use again, now; follow the job',
    tag,
    role: 'operator',
    params: idParams,
    reply: jobReply,
    async handle({ parts, caller, params }) {
      const { job, change } = queuedJob(deployJobKind, params.id, caller.actor, parts.clock.now())
      await parts.store.commit([change])
      return job
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/deployments/{id}',
    summary: 'do not put renewals of a certificate there any more',
    tag,
    role: 'operator',
    params: idParams,
    reply: 'empty',
    handle: async ({ parts, caller, params }) => detachTarget(parts.deploy, caller.actor, params.id),
  }),
]
