import { z } from 'zod'
import type { CatalogueEntry } from '../backup/catalogue.ts'
import type { TargetStanding } from '../backup/parts.ts'
import { isVerified } from '../backup/retention.ts'
import { bundleFacts, bundleFields } from './backups.ts'
import { type Route, route } from './route.ts'

export const targetRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/targets',
    summary: 'where copies of bundles go, and how far each target is behind',
    tag: 'backups',
    role: 'viewer',
    reply: z.object({
      items: z.array(
        z.object({
          name: z.string(),
          kind: z.string(),
          place: z.string(),
          copies: z.number().describe('of the bundles on this host'),
          lacking: z.number().describe('verified bundles of this host that are newer than its newest copy'),
          newest_at: z.string().nullable(),
          tried_at: z.string().nullable(),
          error: z.string().describe('what went wrong in the last attempt; empty when nothing did'),
          whole_at: z.string().nullable().describe('when it last had everything'),
        }),
      ),
    }),
    async handle({ parts }) {
      const good = (await parts.backups()).filter(isVerified)
      const { targets } = await parts.standing()
      return {
        items: parts.targets.map((target) => ({ ...target, ...copiesAt(target.name, good), ...lastAttempt(targets[target.name]) })),
      }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/targets/{name}/test',
    changesNothing: true,
    summary: 'write, read, list and remove a small file at a target',
    tag: 'backups',
    role: 'admin',
    params: z.strictObject({ name: z.string().min(1).max(32) }),
    reply: z.object({
      place: z.string(),
      bundles: z.number(),
      can_remove: z.boolean(),
      findings: z.array(z.string()).describe('what to look at'),
      milliseconds: z.number(),
    }),
    async handle({ parts, params }) {
      const { canRemove: can_remove, milliseconds, ...probe } = await parts.testTarget(params.name)
      return { ...probe, can_remove, milliseconds: Math.round(milliseconds) }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/targets/{name}/backups',
    summary: 'what is at a target now, newest first, as it says itself',
    tag: 'backups',
    role: 'viewer',
    params: z.strictObject({ name: z.string().min(1).max(32) }),
    reply: z.object({
      items: z.array(z.object(bundleFields)),
    }),
    async handle({ parts, params }) {
      return { items: (await parts.backupsAt(params.name)).map(bundleFacts) }
    },
  }),
]

function lastAttempt(standing: TargetStanding | undefined) {
  return { tried_at: standing?.tried_at ?? null, error: standing?.error ?? '', whole_at: standing?.whole_at || null }
}

function copiesAt(target: string, good: readonly CatalogueEntry[]) {
  const copied = good.map(({ state }) => state.copies?.[target]?.at)
  const newest = copied.findIndex((at) => at !== undefined)
  return {
    copies: copied.filter((at) => at !== undefined).length,
    lacking: newest < 0 ? good.length : newest,
    newest_at: copied[newest] ?? null,
  }
}
