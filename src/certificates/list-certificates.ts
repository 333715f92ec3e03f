import { AppError } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import type { Condition, Page, Store } from '../store/store.ts'
import type { Certificate } from './collections.ts'

export const certificateOrders = ['not_after', 'name'] as const
export const certificateStates = ['active', 'expiring', 'expired', 'revoked', 'requested', 'failing'] as const

export interface CertificateFilter {
  projectId?: string | undefined
  kind?: 'managed' | 'watched' | undefined
  state?: (typeof certificateStates)[number] | undefined
  /** Words, all of which are in a name, issuer, serial or fingerprint; `#word` is a tag. */
  search?: string | undefined
  tag?: string | undefined
  sort?: (typeof certificateOrders)[number] | undefined
  direction?: 'asc' | 'desc' | undefined
  limit?: number | undefined
  after?: string | undefined
}

/** Days before expiry at which a certificate counts as expiring. */
const expiringDays = 30

export async function listCertificates(store: Store, filter: CertificateFilter, now: Date): Promise<Page<Certificate>> {
  const query = {
    where: conditions(filter, now),
    sort: { field: filter.sort ?? 'not_after', direction: filter.direction ?? 'asc' },
    after: filter.after,
  } as const
  return store.find<Certificate>('certificates', filter.limit === undefined ? query : { ...query, limit: filter.limit })
}

export async function countCertificates(store: Store, filter: CertificateFilter, now: Date): Promise<number> {
  return store.count('certificates', conditions(filter, now))
}

/** How many active certificates expire on each of the next days, UTC. */
export async function expiryByDay(store: Store, now: Date, days: number): Promise<{ day: string; count: number }[]> {
  const midnight = Math.floor(now.getTime() / dayMs) * dayMs
  return Promise.all(
    Array.from({ length: days }, async (_, n) => {
      const from = new Date(midnight + n * dayMs)
      const range = { gte: n === 0 ? now : from, lt: new Date(from.getTime() + dayMs) }
      return {
        day: from.toISOString().slice(0, 10),
        count: await store.count('certificates', { status: 'active', not_after: range }),
      }
    }),
  )
}

/** @throws AppError `not-found` */
export async function requireCertificate(store: Store, id: string): Promise<Certificate> {
  const certificate = await store.get<Certificate>('certificates', id)
  if (certificate === undefined)
    throw new AppError('not-found', `there is no certificate "${id}"`, { hint: '"certautopilot cert list" shows them' })
  return certificate
}

/** What a person is shown: expiry counts before everything but revocation. */
export function certificateState(certificate: Certificate, now: Date): (typeof certificateStates)[number] {
  if (certificate.status !== 'active') return certificate.status
  if (certificate.not_after <= now) return 'expired'
  return certificate.not_after < expiringLimit(now) ? 'expiring' : 'active'
}

function conditions(filter: CertificateFilter, now: Date): Record<string, Condition> {
  const where: Record<string, Condition> = {}
  if (filter.projectId !== undefined) where.project_id = filter.projectId
  if (filter.kind !== undefined) where.kind = filter.kind
  const words = (filter.search ?? '').toLowerCase().split(/\s+/).filter(Boolean)
  const texts = [...words.map((word) => (word.startsWith('#') ? `${word} ` : word)), ...(filter.tag ? [`#${filter.tag} `] : [])]
  if (texts.length > 0) where.search = { contains: texts }
  if (filter.state !== undefined) Object.assign(where, stateConditions(filter.state, now))
  return where
}

function stateConditions(state: (typeof certificateStates)[number], now: Date): Record<string, Condition> {
  if (state === 'revoked' || state === 'requested') return { status: state }
  if (state === 'failing') return { renewal_state: { in: ['failing', 'stalled'] } }
  const range = {
    active: { gte: expiringLimit(now) },
    expiring: { gt: now, lt: expiringLimit(now) },
    expired: { lte: now },
  }[state]
  return { status: 'active', not_after: range }
}

function expiringLimit(now: Date): Date {
  return new Date(now.getTime() + expiringDays * dayMs)
}
