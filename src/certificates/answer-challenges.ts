import { AppError, messageOf } from '../core/app-error.ts'
import { hourMs, secondMs } from '../core/clock.ts'
import type { Authorization, Order } from '../issuer/ordering-issuer.ts'
import type { AcmeOrder, HttpChallenge, PublishedChallenge } from './collections.ts'
import { challengeRecord, type OpenedCredential, openCredential, requireCredential, waitUntilSeen } from './dns-credentials.ts'
import { type OrderRun, polled } from './order-run.ts'

/** Names that wait for their proof. */
type Pending = Authorization & { challenge: NonNullable<Authorization['challenge']> }

const answerLifeMs = hourMs

/** Shows the CA that the names of an order are ours, and takes the answers away again. @returns the order afterwards */
export async function proveNames(work: OrderRun, record: AcmeOrder, order: Order): Promise<Order> {
  const { run, issuer, certificate } = work
  if (order.status !== 'pending') return order
  const pending = await pendingNames(work, order)
  const credential = certificate.challenge === 'dns-01' && pending.length > 0 ? await openFor(work) : undefined
  const published = await Promise.all(pending.map((name) => answerTo(name, credential)))
  try {
    await publish(work, { ...record, published }, credential)
    for (const { domain, challenge } of pending) {
      await run.step(`asking the CA to look at "${domain}"`)
      await issuer.respond(challenge.url)
    }
    for (const name of pending) await waitForProof(work, name)
  } finally {
    await withdrawChallenges(work, { ...record, published })
  }
  return polled(
    await issuer.order(order.url),
    ({ status }) => status !== 'pending',
    () => issuer.order(order.url),
    run.signal,
  )
}

async function pendingNames({ run, issuer, certificate }: OrderRun, order: Order): Promise<Pending[]> {
  const pending: Pending[] = []
  for (const url of order.authorizations) {
    const authorization = await issuer.authorization(url, certificate.challenge || 'http-01')
    const { status, challenge, domain } = authorization
    if (status === 'valid') await run.step(`"${domain}" is proven already`)
    else if (status !== 'pending') throw new AppError('refused-by-ca', `the CA holds "${domain}" for ${status}`)
    else if (challenge === undefined)
      throw new AppError('refused-by-ca', `the CA does not offer ${certificate.challenge} for "${domain}"`)
    else pending.push({ ...authorization, challenge })
  }
  return pending
}

async function openFor({ parts, certificate }: OrderRun): Promise<OpenedCredential> {
  return openCredential(parts, await requireCredential(parts.store, certificate.dns_credential_id))
}

async function answerTo({ domain, challenge }: Pending, credential: OpenedCredential | undefined): Promise<PublishedChallenge> {
  if (credential === undefined) return { type: 'http-01', name: challenge.token, value: challenge.keyAuthorization, zone: '' }
  return { type: 'dns-01', ...(await challengeRecord(credential, domain, challenge.dnsValue)) }
}

/** First it is written down what will be published, so that it is withdrawn even after a crash. */
async function publish({ parts, run }: OrderRun, record: AcmeOrder, credential: OpenedCredential | undefined): Promise<void> {
  const answers = record.published
  if (answers.length === 0) return
  await parts.store.commit([{ replace: 'acme_orders', document: record }])
  const expires_at = new Date(parts.clock.now().getTime() + answerLifeMs)
  for (const answer of answers) {
    if (credential !== undefined) await credential.provider.publish(answer, run.signal)
    else {
      const document: HttpChallenge = { _id: answer.name, key_authorization: answer.value, expires_at }
      await parts.store.commit([{ insert: 'http_challenges', document }])
      await parts.webroot?.put(answer.name, answer.value)
    }
  }
  if (credential === undefined) return run.step(`answering under /.well-known/acme-challenge/ for ${answers.length} names`)
  await run.step(`published ${answers.map(({ name }) => name).join(', ')}; waiting until every server of the zone shows it`)
  for (const answer of answers) await waitUntilSeen(credential, answer, run.signal)
}

async function waitForProof({ run, issuer, certificate }: OrderRun, name: Pending): Promise<void> {
  const look = () => issuer.authorization(name.url, certificate.challenge || 'http-01')
  const decided = await polled(await look(), ({ status }) => status !== 'pending' && status !== 'processing', look, run.signal)
  if (decided.status === 'valid') return run.step(`"${name.domain}" is proven`)
  throw new AppError('refused-by-ca', `the CA does not believe in "${name.domain}": ${decided.error ?? decided.status}`, {
    hint:
      certificate.challenge === 'http-01' ? 'port 80 of the name must reach this service' : 'look at the zone and its delegation',
  })
}

/** Takes back what was published; what cannot be taken back is said, and does not stop the rest. */
export async function withdrawChallenges(work: OrderRun, record: AcmeOrder): Promise<void> {
  const { parts, run } = work
  const signal = AbortSignal.timeout(30 * secondMs)
  const isDns = record.published.some(({ type }) => type === 'dns-01')
  const credential = isDns ? await openFor(work) : undefined
  for (const answer of record.published) {
    try {
      if (answer.type === 'dns-01') await credential?.provider.withdraw(answer, signal)
      else await withdrawHttp(work, answer.name)
    } catch (error) {
      await run.step(`"${answer.name}" could not be taken back: ${messageOf(error)}`)
    }
  }
  if (record.published.length > 0)
    await parts.store.commit([{ replace: 'acme_orders', document: { ...record, published: [] } as AcmeOrder }])
}

async function withdrawHttp({ parts }: OrderRun, token: string): Promise<void> {
  await parts.webroot?.remove(token)
  const isThere = (await parts.store.get<HttpChallenge>('http_challenges', token)) !== undefined
  if (isThere) await parts.store.commit([{ remove: 'http_challenges', id: token }])
}
