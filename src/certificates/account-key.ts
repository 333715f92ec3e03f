import { createPrivateKey, type KeyObject } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import type { OrderingIssuer } from '../issuer/ordering-issuer.ts'
import type { Envelope, EnvelopePlace } from '../kek/envelope.ts'
import type { AcmeAccount, AcmeNextKey } from './collections.ts'
import { newPrivateKey } from './keys.ts'
import type { CertificateParts, Request } from './parts.ts'

/** Speaks to the CA as this account. A key change that was cut off is settled first. */
export async function openAccount(parts: CertificateParts, account: AcmeAccount, signal: AbortSignal): Promise<OrderingIssuer> {
  const settled = await settleKey(parts, account, signal)
  return asAccount(parts, settled, opened(parts, keyPlace(settled._id), settled.encrypted_private_key), signal)
}

/**
 * Replaces the account's key here and at the CA (RFC 8555, 7.3.5). The new key is kept before the CA hears of it, so that a crash between the
 * two loses no account. @throws AppError `refused-by-ca` · `unreachable` · `safe-mode` · `exists` another change is under way
 */
export async function changeAccountKey(
  parts: CertificateParts,
  request: Request,
  account: AcmeAccount,
  signal: AbortSignal,
): Promise<AcmeAccount> {
  await parts.requireAllowed('change the key of an account')
  const issuer = await openAccount(parts, account, signal)
  const key = await newPrivateKey('ec-p256')
  const document: AcmeNextKey = {
    _id: account._id,
    encrypted_key: parts.kek.seal(nextPlace(account._id), derOf(key)),
    kek_version: parts.kek.activeVersion,
    requested_by: request.actor,
  }
  await parts.store.commit([{ insert: 'acme_next_keys', document }])
  await issuer.changeKey(key)
  return adopt(parts, request, account, key)
}

export function sealedAccountKey(parts: CertificateParts, id: string, key: KeyObject) {
  return { encrypted_private_key: parts.kek.seal(keyPlace(id), derOf(key)), kek_version: parts.kek.activeVersion }
}

/** Asks the CA which of the two keys it knows, and keeps that one. */
async function settleKey(parts: CertificateParts, account: AcmeAccount, signal: AbortSignal): Promise<AcmeAccount> {
  const next = await parts.store.get<AcmeNextKey>('acme_next_keys', account._id)
  if (next === undefined) return account
  const key = opened(parts, nextPlace(account._id), next.encrypted_key)
  const known = await (await asAccount(parts, { ...account, account_url: '' }, key, signal)).findAccount()
  if (known === account.account_url) return adopt(parts, { actor: next.requested_by }, account, key)
  await parts.store.commit([{ remove: 'acme_next_keys', id: account._id }])
  return account
}

async function adopt(parts: CertificateParts, request: Request, account: AcmeAccount, key: KeyObject): Promise<AcmeAccount> {
  const next: AcmeAccount = { ...account, ...sealedAccountKey(parts, account._id, key) }
  await parts.store.commit([
    { replace: 'acme_accounts', document: next },
    { remove: 'acme_next_keys', id: account._id },
    audited(request.actor, 'acme-account.key-changed', account._id, { name: account.name }),
  ])
  return next
}

function asAccount(parts: CertificateParts, account: AcmeAccount, key: KeyObject, signal: AbortSignal): Promise<OrderingIssuer> {
  const { directory_url: directoryUrl, trust_anchors_pem: trustAnchors, account_url: accountUrl } = account
  return parts.acme({ directoryUrl, trustAnchors, key, accountUrl }, signal)
}

function opened(parts: CertificateParts, place: EnvelopePlace, envelope: Envelope): KeyObject {
  return createPrivateKey({ key: parts.kek.open(place, envelope), format: 'der', type: 'pkcs8' })
}

function derOf(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'pkcs8' })
}

function keyPlace(id: string): EnvelopePlace {
  return { collection: 'acme_accounts', recordId: id, field: 'encrypted_private_key' }
}

function nextPlace(id: string): EnvelopePlace {
  return { collection: 'acme_next_keys', recordId: id, field: 'encrypted_key' }
}
