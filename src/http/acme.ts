import { z } from 'zod'
import { changeAccountKey } from '../certificates/account-key.ts'
import { acmeCas, createAccount, orderHeadroom, removeAccount, requireAccount } from '../certificates/acme-accounts.ts'
import type { AcmeAccount, HttpChallenge } from '../certificates/collections.ts'
import { requireProject } from '../certificates/projects.ts'
import { AppError } from '../core/app-error.ts'
import type { HttpParts } from './parts.ts'
import { Download, idParams, pageOf, pageQuery, type Route, route } from './route.ts'
import { acmeAccountReply } from './schemas.ts'

const tag = 'acme'
const caTimeoutMs = 60_000

export const acmeRoutes: Route[] = [
  route({
    method: 'GET',
    path: '/api/v1/acme-accounts',
    summary: 'list accounts at ACME CAs',
    tag,
    role: 'viewer',
    query: z.strictObject({ ...pageQuery, project: z.string().max(100).optional() }),
    reply: pageOf(acmeAccountReply),
    async handle({ parts, query }) {
      const where = query.project === undefined ? {} : { project_id: (await requireProject(parts.store, query.project))._id }
      const page = await parts.store.find<AcmeAccount>('acme_accounts', { where, limit: query.limit, after: query.cursor })
      return { items: await Promise.all(page.items.map((account) => shown(parts, account))), next_cursor: page.nextCursor ?? null }
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/acme-accounts',
    summary: 'make an account at an ACME CA',
    tag,
    role: 'admin',
    body: z.strictObject({
      project: z.string().max(100),
      name: z.string().min(1).max(64),
      ca: z
        .string()
        .max(2000)
        .describe(`${Object.keys(acmeCas).join(', ')}, or the URL of a directory`),
      email: z.string().max(320).default(''),
      agrees_to_terms: z.boolean().default(false),
      trust_anchors_pem: z.string().max(100_000).optional().describe('CAs that are trusted when this CA is asked'),
      profile: z.string().max(100).optional(),
      is_staging: z.boolean().optional(),
      eab: z.strictObject({ key_id: z.string().min(1).max(500), hmac_key: z.string().min(1).max(1000) }).optional(),
    }),
    reply: acmeAccountReply,
    async handle({ parts, caller, body }) {
      const input = {
        project: body.project,
        name: body.name,
        ca: body.ca,
        email: body.email,
        agreesToTerms: body.agrees_to_terms,
        trustAnchorsPem: body.trust_anchors_pem,
        profile: body.profile,
        isStaging: body.is_staging,
        eab: body.eab && { keyId: body.eab.key_id, hmacKey: body.eab.hmac_key },
      }
      return shown(parts, await createAccount(parts.certificates, caller, input, AbortSignal.timeout(caTimeoutMs)))
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/acme-accounts/{id}',
    summary: 'show an account, with what is left of the order limit',
    tag,
    role: 'viewer',
    params: idParams,
    reply: acmeAccountReply,
    async handle({ parts, params }) {
      return shown(parts, await requireAccount(parts.store, params.id))
    },
  }),
  route({
    method: 'DELETE',
    path: '/api/v1/acme-accounts/{id}',
    summary: 'forget an account; at the CA it stays',
    tag,
    role: 'admin',
    params: idParams,
    reply: 'empty',
    async handle({ parts, caller, params }) {
      await removeAccount(parts.certificates, caller, params.id)
    },
  }),
  route({
    method: 'POST',
    path: '/api/v1/acme-accounts/{id}/key-change',
    summary: 'replace the key of an account, here and at the CA',
    tag,
    role: 'admin',
    params: idParams,
    reply: acmeAccountReply,
    async handle({ parts, caller, params }) {
      const account = await requireAccount(parts.store, params.id)
      return shown(parts, await changeAccountKey(parts.certificates, caller, account, AbortSignal.timeout(caTimeoutMs)))
    },
  }),
  route({
    method: 'GET',
    path: '/.well-known/acme-challenge/{id}',
    summary: 'what an ACME CA asks for to believe in a name (RFC 8555, 8.3)',
    tag,
    role: 'public',
    params: idParams,
    reply: 'download',
    async handle({ parts, params }) {
      return new Download('application/octet-stream', 'challenge', await challengeAnswer(parts, params.id))
    },
  }),
]

/** @throws AppError `not-found` */
export async function challengeAnswer({ store }: Pick<HttpParts, 'store'>, token: string): Promise<string> {
  const challenge = await store.get<HttpChallenge>('http_challenges', token)
  if (challenge === undefined) throw new AppError('not-found', 'no CA was promised an answer here')
  return challenge.key_authorization
}

async function shown(parts: HttpParts, account: AcmeAccount) {
  return { ...account, orders: await orderHeadroom(parts.store, account, parts.clock.now()) }
}
