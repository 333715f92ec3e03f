import { createPrivateKey, createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import type { Order, OrderingIssuer } from '../issuer/ordering-issuer.ts'
import type { JobRun } from '../jobs/worker.ts'
import type { EnvelopePlace } from '../kek/envelope.ts'
import type { Change } from '../store/store.ts'
import { openAccount } from './account-key.ts'
import { requireAccount } from './acme-accounts.ts'
import { proveNames, withdrawChallenges } from './answer-challenges.ts'
import type { AcmeOrder, AcmeOrderRecord, Certificate } from './collections.ts'
import { describeCertificate, neverRenewed, parseCertificates, renewalTime, renewalWorks, searchText } from './describe.ts'
import { keyTypeName, newPrivateKey, sealedKey } from './keys.ts'
import { requireCertificate } from './list-certificates.ts'
import { type OrderRun, polled } from './order-run.ts'
import type { CertificateParts } from './parts.ts'
import { suggestedRenewal } from './renewal-information.ts'

/**
 * Gets a certificate from an ACME CA: the handler of `certificate.issue`, and of renewals of such certificates. Every step leaves behind
 * what the next needs, so that it goes on where a crash ended it: at most one order is abandoned, and never is there a second certificate.
 */
export async function orderCertificate(parts: CertificateParts, run: JobRun): Promise<void> {
  await parts.requireAllowed('order a certificate')
  const certificate = await requireCertificate(parts.store, run.job.subject)
  const account = await requireAccount(parts.store, certificate.account_id)
  const issuer = await openAccount(parts, account, run.signal)
  const work: OrderRun = { parts, run, certificate, account, issuer }

  const { record, order } = await openOrder(work)
  const proven = await proveNames(work, record, order)
  const { csr, key } = await requestFor(work, record)
  const issued = await finalized(work, proven, csr)
  await run.step('fetching the certificate')
  const chain = checkedChain(await issuer.download(issued), key, certificate)
  await saveIssued(work, record, key, chain)
}

/** The order of an earlier attempt where that can go on, else a new one. */
async function openOrder(work: OrderRun): Promise<{ record: AcmeOrder; order: Order }> {
  const { parts, run, certificate, account, issuer } = work
  const before = await parts.store.get<AcmeOrder>('acme_orders', certificate._id)
  if (before !== undefined && before.published.length > 0) await withdrawChallenges(work, before)
  if (before !== undefined && before.order_url !== '') {
    const order = await issuer.order(before.order_url).catch(forgotten)
    if (order !== undefined && order.status !== 'invalid') {
      await run.step(`going on with the order of before, which is ${order.status}`)
      return { record: { ...before, published: [] }, order }
    }
  }
  const record = before === undefined ? await newRecord(work) : { ...before, published: [] }
  await run.step(`ordering ${certificate.sans.join(', ')} at ${new URL(account.directory_url).host}`)
  const order = await placeOrder(work)
  const placed: AcmeOrder = { ...record, order_url: order.url }
  await parts.store.commit([{ replace: 'acme_orders', document: placed }, orderLogged(work)])
  return { record: placed, order }
}

/** A CA may have forgotten an old order. */
function forgotten(error: unknown): undefined {
  if (!isAppError(error, 'refused-by-ca')) throw error
  return undefined
}

async function newRecord({ parts, certificate, account }: OrderRun): Promise<AcmeOrder> {
  const key = await newPrivateKey(keyTypeName(certificate.key_type))
  const record: AcmeOrder = {
    _id: certificate._id,
    account_id: account._id,
    order_url: '',
    encrypted_key: parts.kek.seal(place(certificate._id), key.export({ format: 'der', type: 'pkcs8' })),
    kek_version: parts.kek.activeVersion,
    published: [],
    created_at: parts.clock.now(),
  }
  await parts.store.commit([{ insert: 'acme_orders', document: record }])
  return record
}

/** A renewal says what it replaces, which exempts it from rate limits (RFC 9773, 5); a CA that does not like that is asked without. */
async function placeOrder({ certificate, account, issuer, run }: OrderRun): Promise<Order> {
  const input = { names: certificate.sans, profile: account.profile }
  const replaces = await replacedId(certificate, issuer)
  if (replaces === undefined) return issuer.createOrder(input)
  try {
    return await issuer.createOrder({ ...input, replaces })
  } catch (error) {
    if (!isAppError(error, 'refused-by-ca')) throw error
    await run.step(`the CA does not take it as a replacement: ${error.message}`)
    return issuer.createOrder(input)
  }
}

async function replacedId(certificate: Certificate, issuer: OrderingIssuer): Promise<string | undefined> {
  if (certificate.certificate_pem === '') return undefined
  const { ariId } = await import('./csr.ts')
  const id = ariId(certificate.certificate_pem)
  const window = id === undefined ? undefined : await issuer.renewalWindow(id).catch(() => undefined)
  return window === undefined ? undefined : id
}

function orderLogged({ parts, certificate, account }: OrderRun): Change {
  const now = parts.clock.now()
  const document: AcmeOrderRecord = {
    _id: newId(now.getTime()),
    account_id: account._id,
    names: certificate.sans.toSorted().join(' '),
    is_renewal: certificate.status === 'active',
    at: now,
  }
  return { insert: 'acme_order_log', document }
}

async function requestFor({ parts, certificate }: OrderRun, record: AcmeOrder): Promise<{ csr: Buffer; key: KeyObject }> {
  const { makeCsr } = await import('./csr.ts')
  const der = parts.kek.open(place(record._id), record.encrypted_key)
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return { key, csr: await makeCsr(key, certificate.sans) }
}

async function finalized({ run, issuer }: OrderRun, order: Order, csr: Buffer): Promise<Order> {
  if (order.status === 'ready') await run.step('sending the request for the certificate')
  const sent = order.status === 'ready' ? await issuer.finalize(order, csr) : order
  const done = await polled(
    sent,
    ({ status }) => status !== 'processing',
    () => issuer.order(order.url),
    run.signal,
  )
  if (done.status === 'valid') return done
  throw new AppError(
    'refused-by-ca',
    `the CA ended the order as "${done.status}"${done.error === undefined ? '' : `: ${done.error}`}`,
  )
}

/** What a CA sends is believed only when it is for our key and our names. */
function checkedChain(pem: string, key: KeyObject, { sans }: Certificate): X509Certificate[] {
  const chain = parsedChain(pem)
  const leaf = chain[0]
  if (leaf === undefined) throw new AppError('refused-by-ca', 'the CA sent no certificate')
  if (!leaf.publicKey.equals(createPublicKey(key))) throw new AppError('refused-by-ca', 'the CA sent a certificate for another key')
  const missing = sans.find((name) => leaf.checkHost(name.replace('*', 'any'), { subject: 'never' }) === undefined)
  if (missing !== undefined) throw new AppError('refused-by-ca', `the CA sent a certificate without the name "${missing}"`)
  return chain
}

function parsedChain(pem: string): X509Certificate[] {
  try {
    return parseCertificates(pem)
  } catch (error) {
    throw new AppError('refused-by-ca', 'the CA sent something that is not a certificate', { cause: error })
  }
}

async function saveIssued(work: OrderRun, record: AcmeOrder, key: KeyObject, chain: X509Certificate[]): Promise<void> {
  const { parts, run, certificate, issuer } = work
  const description = describeCertificate(chain[0] as X509Certificate)
  const sealed = sealedKey(parts, certificate._id, key)
  const planned = renewalTime(description.not_before, description.not_after, parts.renewBeforeDays)
  const suggestion = await suggestedRenewal(parts, issuer, description.certificate_pem)
  const isRenewal = certificate.status === 'active'
  const issued: Certificate = {
    ...certificate,
    ...description,
    search: searchText(certificate.tags, description.search),
    ...renewalWorks,
    sans: certificate.sans,
    status: 'active',
    chain_pem: chain.slice(1).map(String).join(''),
    key_id: sealed.id,
    previous_key_id: certificate.key_id,
    ari_check_at: suggestion.checkAt,
    next_renewal_at: certificate.auto_renew ? (suggestion.renewAt ?? planned) : neverRenewed,
    validity_days: Math.round((description.not_after.getTime() - description.not_before.getTime()) / 86_400_000),
  }
  await run.step(`saving serial ${description.serial}, valid until ${description.not_after.toISOString()}`)
  await run.finish([
    { replace: 'certificates', document: issued, expect: { serial: certificate.serial, status: certificate.status } },
    sealed.change,
    ...(certificate.previous_key_id === '' ? [] : [{ remove: 'certificate_private_keys', id: certificate.previous_key_id }]),
    { remove: 'acme_orders', id: record._id },
    ...((await parts.afterRenewal?.(certificate._id)) ?? []),
    audited(run.job.requested_by, isRenewal ? 'certificate.renewed' : 'certificate.issued', certificate._id, {
      name: issued.name,
      project: issued.project_id,
      serial: issued.serial,
      before: certificate.serial,
    }),
  ])
}

function place(recordId: string): EnvelopePlace {
  return { collection: 'acme_orders', recordId, field: 'encrypted_key' }
}
