import { z } from 'zod'
import { audited } from '../audit/audit.ts'
import { backupJobKinds, requestBackupJob } from '../backup/backup-jobs.ts'
import { type CatalogueEntry, countsOf, suspicionOf } from '../backup/catalogue.ts'
import { AppError } from '../core/app-error.ts'
import { type Route, route } from './route.ts'
import { jobReply } from './schemas.ts'

/** What is known of a bundle wherever it lies. */
export const bundleFields = {
  name: z.string(),
  bytes: z.number(),
  is_damaged: z.boolean(),
  created_at: z.string().nullable(),
  suspect: z.string(),
  verified_at: z.string().nullable(),
  failure: z.string(),
}

export function bundleFacts(entry: CatalogueEntry) {
  const { name, bytes, isDamaged, sidecar, state } = entry
  return {
    name,
    bytes,
    is_damaged: isDamaged,
    created_at: sidecar?.manifest.created_at ?? null,
    suspect: suspicionOf(entry),
    verified_at: state.verified_at ?? null,
    failure: state.failure ?? '',
  }
}

/** Taking, verifying and drilling; what hands out or takes in a bundle is a command on the host, not a call of the API. */
export const backupRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/backups',
    summary: 'list the bundles of this host, newest first',
    tag: 'backups',
    role: 'viewer',
    reply: z.object({
      items: z.array(
        z.object({
          ...bundleFields,
          duration_ms: z.number().nullable(),
          kek_versions: z.array(z.object({ version: z.number(), fingerprint: z.string() })),
          verified_level: z.string().nullable(),
          recovery_proven_at: z.string().nullable(),
          copies: z.array(z.object({ target: z.string(), at: z.string() })),
          pin: z.object({ reason: z.string(), until: z.string().nullable(), by: z.string() }).nullable(),
          counts: z.record(z.string(), z.number()),
        }),
      ),
    }),
    async handle({ parts }) {
      const entries = await parts.backups()
      return {
        items: entries.map(({ sidecar, state, ...entry }) => ({
          ...bundleFacts({ sidecar, state, ...entry }),
          duration_ms: state.duration_ms ?? null,
          kek_versions: sidecar?.manifest.kek.versions ?? [],
          verified_level: state.verified_level ?? null,
          recovery_proven_at: state.recovery_proven_at ?? null,
          copies: Object.entries(state.copies ?? {}).map(([target, { at }]) => ({ target, at })),
          pin: state.pin ?? null,
          counts: sidecar === undefined ? {} : countsOf(sidecar.manifest),
        })),
      }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/backups/{name}',
    summary: 'what a bundle holds, by its manifest',
    tag: 'backups',
    role: 'viewer',
    params: z.strictObject({ name: z.string().min(1).max(200) }),
    reply: z.object({
      name: z.string(),
      bytes: z.number(),
      installation_id: z.string(),
      epoch: z.number(),
      app_version: z.string(),
      schema_version: z.number(),
      taken_at: z.string(),
      signer: z.string(),
      recipients: z.array(z.string()),
      engine: z.string(),
      database: z.string(),
      audit_seq: z.number(),
      members: z.array(z.object({ name: z.string(), bytes: z.number() })),
      collections: z.array(z.object({ name: z.string(), count: z.number(), bytes: z.number() })),
      kek_versions: z.array(z.object({ version: z.number(), fingerprint: z.string(), envelopes: z.number(), opened: z.number() })),
    }),
    async handle({ parts, params }) {
      const entry = (await parts.backups()).find(({ name }) => name === params.name)
      if (entry?.sidecar === undefined)
        throw new AppError('not-found', `there is no bundle "${params.name}" with a manifest beside it`)
      const { manifest, signer, artefact } = entry.sidecar
      return {
        name: entry.name,
        bytes: entry.bytes,
        installation_id: manifest.installation_id,
        epoch: manifest.epoch,
        app_version: manifest.app_version,
        schema_version: manifest.schema_version,
        taken_at: manifest.point_in_time.taken_at,
        signer,
        recipients: artefact.recipients,
        engine: manifest.store.engine,
        database: manifest.store.database,
        audit_seq: manifest.audit.seq,
        members: manifest.members,
        collections: manifest.collections,
        kek_versions: manifest.kek.versions,
      }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/backups',
    summary: 'take a backup now; follow the job',
    tag: 'backups',
    role: 'admin',
    reply: jobReply,
    handle: async ({ parts, caller }) =>
      requestBackupJob(parts.store, caller.actor, backupJobKinds.create, 'host', parts.clock.now()),
  }),
  route({
    method: 'POST',
    path: '/api/v1/backups/{name}/verify',
    summary: 'open every envelope of a bundle again; follow the job',
    tag: 'backups',
    role: 'admin',
    params: z.strictObject({ name: z.string().min(1).max(200) }),
    reply: jobReply,
    async handle({ parts, caller, params }) {
      const isThere = (await parts.backups()).some((entry) => entry.name === params.name)
      if (!isThere) throw new AppError('not-found', `there is no bundle "${params.name}"`)
      return requestBackupJob(parts.store, caller.actor, backupJobKinds.verify, params.name, parts.clock.now())
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/retention',
    summary: 'which bundles would stay and go now, and why',
    tag: 'backups',
    role: 'viewer',
    reply: z.object({
      stopped: z.string().describe('why nothing may be removed now; empty when it may'),
      items: z.array(z.object({ name: z.string(), is_kept: z.boolean(), reasons: z.array(z.string()) })),
    }),
    async handle({ parts }) {
      const { verdicts, stopped } = await parts.retention()
      return { stopped, items: verdicts.map(({ entry, isKept, reasons }) => ({ name: entry.name, is_kept: isKept, reasons })) }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/retention/apply',
    summary: 'remove the bundles that no rule of retention keeps',
    tag: 'backups',
    role: 'admin',
    reply: z.object({ removed: z.array(z.string()) }),
    async handle({ parts, caller }) {
      const removed = await parts.pruneBackups()
      if (removed.length > 0) await parts.store.commit([audited(caller.actor, 'backup.pruned', 'host', { bundles: removed })])
      return { removed }
    },
  }),
  route({
    method: 'PUT',
    path: '/api/v1/backups/{name}/pin',
    summary: 'keep a bundle whatever the rules of retention say',
    tag: 'backups',
    role: 'admin',
    params: z.strictObject({ name: z.string().min(1).max(200) }),
    body: z.strictObject({ reason: z.string().min(1).max(300), until: z.iso.datetime().nullable().default(null) }),
    reply: 'empty',
    async handle({ parts, caller, params, body }) {
      await parts.pinBackup(params.name, { ...body, by: caller.actor.name })
      await parts.store.commit([audited(caller.actor, 'backup.pinned', params.name, body)])
    },
  }),
  route({
    method: 'PUT',
    path: '/api/v1/backups/{name}/acceptance',
    summary: 'take a suspect bundle for what it should be: the next are compared with it, and retention goes on',
    tag: 'backups',
    role: 'admin',
    params: z.strictObject({ name: z.string().min(1).max(200) }),
    body: z.strictObject({ reason: z.string().min(1).max(300) }),
    reply: 'empty',
    async handle({ parts, caller, params, body }) {
      await parts.acceptBackup(params.name, body.reason, caller.actor.name)
      await parts.store.commit([audited(caller.actor, 'backup.accepted', params.name, body)])
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/backups/{name}/pin',
    summary: 'leave a bundle to the rules of retention again',
    tag: 'backups',
    role: 'admin',
    params: z.strictObject({ name: z.string().min(1).max(200) }),
    reply: 'empty',
    async handle({ parts, caller, params }) {
      await parts.pinBackup(params.name, undefined)
      await parts.store.commit([audited(caller.actor, 'backup.unpinned', params.name)])
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/drills',
    summary: 'run a restore drill on the newest good bundle; follow the job',
    tag: 'backups',
    role: 'admin',
    reply: jobReply,
    handle: async ({ parts, caller }) =>
      requestBackupJob(parts.store, caller.actor, backupJobKinds.drill, 'host', parts.clock.now()),
  }),
  route({
    method: 'GET',
    path: '/api/v1/drills',
    summary: 'list restore drills, newest first',
    tag: 'backups',
    role: 'viewer',
    reply: z.object({
      items: z.array(
        z.object({
          id: z.string(),
          bundle: z.string(),
          started_at: z.string(),
          outcome: z.string(),
          failure: z.string(),
          recovery_ms: z.number(),
        }),
      ),
    }),
    handle: async ({ parts }) => ({ items: await parts.drills() }),
  }),
]

/** @param good newest first */
