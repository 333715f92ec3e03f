import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { hourMs } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { OrderingIssuer } from '../issuer/ordering-issuer.ts'
import type { Store } from '../store/store.ts'
import { sealedAccountKey } from './account-key.ts'
import type { AcmeAccount } from './collections.ts'
import { newPrivateKey } from './keys.ts'
import type { CertificateParts, Request } from './parts.ts'
import { requireProject } from './projects.ts'

/** CAs by name. */
export const acmeCas = {
  letsencrypt: { url: 'https://acme-v02.api.letsencrypt.org/directory', isStaging: false },
  'letsencrypt-staging': { url: 'https://acme-staging-v02.api.letsencrypt.org/directory', isStaging: true },
  google: { url: 'https://dv.acme-v02.api.pki.goog/directory', isStaging: false },
  'google-staging': { url: 'https://dv.acme-v02.test-api.pki.goog/directory', isStaging: true },
  zerossl: { url: 'https://acme.zerossl.com/v2/DV90', isStaging: false },
} as const satisfies Record<string, { url: string; isStaging: boolean }>

export interface AccountInput {
  project: string
  name: string
  /** A key of `acmeCas`, or the URL of a directory. */
  ca: string
  email: string
  agreesToTerms: boolean
  trustAnchorsPem?: string | undefined
  profile?: string | undefined
  isStaging?: boolean | undefined
  eab?: { keyId: string; hmacKey: string } | undefined
}

/**
 * Makes an account at an ACME CA with a key of its own, which is sealed.
 * @throws AppError `usage` · `exists` · `refused-by-ca` · `unreachable` · `forbidden` · `safe-mode`
 */
export async function createAccount(
  parts: CertificateParts,
  request: Request,
  input: AccountInput,
  signal: AbortSignal,
): Promise<AcmeAccount> {
  await parts.requireAllowed('make an account at a CA')
  const project = await requireProject(parts.store, input.project)
  if (!/^[\w .-]{1,64}$/.test(input.name))
    throw new AppError('usage', `"${input.name}" is no name for an account: use letters, digits, spaces, dots and dashes`)
  const known = (acmeCas as Record<string, { url: string; isStaging: boolean }>)[input.ca]
  const directoryUrl = known?.url ?? input.ca
  const key = await newPrivateKey('ec-p256')
  const trustAnchors = input.trustAnchorsPem ?? ''
  const issuer = await parts.acme({ directoryUrl, trustAnchors, key, accountUrl: '' }, signal)
  await checkDirectory(issuer, input)
  const accountUrl = await issuer.register({ email: input.email, eab: input.eab })
  const now = parts.clock.now()
  const id = newId(now.getTime())
  const account: AcmeAccount = {
    _id: id,
    project_id: project._id,
    name: input.name,
    directory_url: directoryUrl,
    is_staging: input.isStaging ?? known?.isStaging ?? false,
    email: input.email,
    trust_anchors_pem: trustAnchors,
    profile: input.profile ?? '',
    account_url: accountUrl,
    ...sealedAccountKey(parts, id, key),
    created_at: now,
  }
  const data = { name: input.name, ca: directoryUrl, account: accountUrl }
  try {
    await parts.store.commit([
      { insert: 'acme_accounts', document: account },
      audited(request.actor, 'acme-account.created', id, data),
    ])
  } catch (error) {
    if (isAppError(error, 'exists')) throw new AppError('exists', `there is an account "${input.name}" already`, { cause: error })
    throw error
  }
  return account
}

async function checkDirectory(issuer: OrderingIssuer, input: AccountInput): Promise<void> {
  const directory = await issuer.directory()
  if (directory.termsUrl !== '' && !input.agreesToTerms)
    throw new AppError('usage', `the CA has terms of service: ${directory.termsUrl}`, {
      hint: 'read them, then say that you agree',
    })
  if (directory.needsExternalAccount && input.eab === undefined)
    throw new AppError('usage', 'this CA wants an external account: give its key id and its HMAC key')
  const offered = Object.keys(directory.profiles)
  if (input.profile && !offered.includes(input.profile))
    throw new AppError('usage', `the CA does not offer the profile "${input.profile}"`, {
      hint: `it offers: ${offered.join(', ') || 'none'}`,
    })
}

/** The account with this id or name; without either, the only one. @throws AppError `not-found` · `usage` there are several */
export async function requireAccount(store: Store, idOrName: string | undefined, projectId?: string): Promise<AcmeAccount> {
  const byId = idOrName === undefined ? undefined : await store.get<AcmeAccount>('acme_accounts', idOrName)
  if (byId !== undefined && (projectId === undefined || byId.project_id === projectId)) return byId
  const where = {
    ...(projectId === undefined ? {} : { project_id: projectId }),
    ...(idOrName === undefined ? {} : { name: idOrName }),
  }
  const { items } = await store.find<AcmeAccount>('acme_accounts', { where, limit: 2 })
  const which = idOrName === undefined ? '' : ` "${idOrName}"`
  if (items[0] === undefined)
    throw new AppError('not-found', `there is no ACME account${which} in this project`, {
      hint: '"certautopilot acme list" shows them, "acme create" makes one',
    })
  if (items.length > 1) throw new AppError('usage', `there are several ACME accounts${which}: say which one by its id`)
  return items[0]
}

/** Forgets an account; at the CA it stays. @throws AppError `not-found` · `conflict` certificates use it */
export async function removeAccount(parts: CertificateParts, request: Request, id: string): Promise<void> {
  const account = await requireAccount(parts.store, id)
  const count = await parts.store.count('certificates', { account_id: account._id })
  if (count > 0) throw new AppError('conflict', `account "${account.name}" still renews ${count} certificates`)
  await parts.store.commit([
    { remove: 'acme_accounts', id: account._id },
    audited(request.actor, 'acme-account.removed', account._id, { name: account.name }),
  ])
}

/** What Let's Encrypt allows an account: new orders in three hours. */
const ordersPer3Hours = 300

/** How many orders this account placed of late, beside what the best-known CA allows. */
export async function orderHeadroom(
  store: Store,
  account: AcmeAccount,
  now: Date,
): Promise<{ used: number; limit: number; hours: number }> {
  const used = await store.count('acme_order_log', { account_id: account._id, at: { gte: new Date(now.getTime() - 3 * hourMs) } })
  return { used, limit: ordersPer3Hours, hours: 3 }
}
