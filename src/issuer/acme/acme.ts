import type { KeyObject } from 'node:crypto'
import { AppError, isAppError } from '../../core/app-error.ts'
import type { Outbound, OutboundReply } from '../../outbound/outbound.ts'
import { type RevocationReason, revocationReasons } from '../issuer.ts'
import type {
  AccountAccess,
  AccountInput,
  Authorization,
  CaDirectory,
  ChallengeType,
  Order,
  OrderInput,
  OrderingIssuer,
  RenewalWindow,
} from '../ordering-issuer.ts'
import { dnsChallengeValue, keyAuthorization, publicJwk, signExternalAccount, signJws } from './jws.ts'
import { problemIn, retryAfterMs } from './replies.ts'

interface Directory {
  newNonce: string
  newAccount: string
  newOrder: string
  revokeCert: string
  keyChange: string
  renewalInfo?: string
  meta?: { termsOfService?: string; externalAccountRequired?: boolean; profiles?: Record<string, string> }
}

interface OrderReply {
  status: Order['status']
  authorizations: string[]
  finalize: string
  certificate?: string
  error?: { detail?: string }
}

interface AuthorizationReply {
  status: string
  identifier: { value: string }
  challenges: { type: string; url: string; token: string; error?: { detail?: string } }[]
}

const maxNonceTries = 8

/** Speaks ACME (RFC 8555) as one account. */
export function openAcme(outbound: Outbound, access: AccountAccess, signal: AbortSignal): OrderingIssuer {
  return new Acme(outbound, access, signal)
}

class Acme implements OrderingIssuer {
  readonly #outbound: Outbound
  readonly #access: AccountAccess
  readonly #signal: AbortSignal
  #accountUrl: string | undefined
  #directory: Promise<Directory> | undefined
  #nonce: string | undefined

  constructor(outbound: Outbound, access: AccountAccess, signal: AbortSignal) {
    this.#outbound = outbound
    this.#access = access
    this.#signal = signal
    this.#accountUrl = access.accountUrl || undefined
  }

  async directory(): Promise<CaDirectory> {
    const { meta } = await this.#readDirectory()
    return {
      termsUrl: meta?.termsOfService ?? '',
      needsExternalAccount: meta?.externalAccountRequired ?? false,
      profiles: meta?.profiles ?? {},
    }
  }

  async register({ email, eab }: AccountInput): Promise<string> {
    const { newAccount } = await this.#readDirectory()
    const binding =
      eab === undefined ? {} : { externalAccountBinding: await signExternalAccount(this.#access.key, eab, newAccount) }
    const contact = email === '' ? {} : { contact: [`mailto:${email}`] }
    this.#accountUrl = undefined
    const reply = await this.#post(newAccount, { termsOfServiceAgreed: true, ...contact, ...binding })
    this.#accountUrl = headerOf(reply, 'location')
    return this.#accountUrl
  }

  async findAccount(): Promise<string | undefined> {
    const { newAccount } = await this.#readDirectory()
    try {
      return headerOf(await this.#post(newAccount, { onlyReturnExisting: true }), 'location')
    } catch (error) {
      if (isAppError(error, 'refused-by-ca') && error.details?.kind === 'accountDoesNotExist') return undefined
      throw error
    }
  }

  async createOrder({ names, profile, replaces }: OrderInput): Promise<Order> {
    const { newOrder } = await this.#readDirectory()
    const identifiers = names.map((value) => ({ type: 'dns', value }))
    const reply = await this.#post(newOrder, {
      identifiers,
      ...(profile ? { profile } : {}),
      ...(replaces === undefined ? {} : { replaces }),
    })
    return orderOf(headerOf(reply, 'location'), reply)
  }

  async order(url: string): Promise<Order> {
    return orderOf(url, await this.#post(url, undefined))
  }

  async authorization(url: string, type: ChallengeType): Promise<Authorization> {
    const reply = await this.#post(url, undefined)
    const { status, identifier, challenges } = jsonOf<AuthorizationReply>(reply)
    const offered = challenges.find((candidate) => candidate.type === type)
    const authorization = offered === undefined ? '' : keyAuthorization(this.#access.key, offered.token)
    const challenge = offered && {
      url: offered.url,
      token: offered.token,
      keyAuthorization: authorization,
      dnsValue: dnsChallengeValue(authorization),
    }
    const error = challenges.find((candidate) => candidate.error !== undefined)?.error?.detail
    return { url, status, domain: identifier.value, challenge, error, retryAfterMs: retryAfterMs(reply) }
  }

  async respond(challengeUrl: string): Promise<void> {
    await this.#post(challengeUrl, {})
  }

  async finalize(order: Order, csr: Buffer): Promise<Order> {
    return orderOf(order.url, await this.#post(order.finalize, { csr: csr.toString('base64url') }))
  }

  async download(order: Order): Promise<string> {
    if (order.certificate === undefined) throw new AppError('refused-by-ca', `the order "${order.url}" has no certificate yet`)
    const reply = await this.#post(order.certificate, undefined, { accept: 'application/pem-certificate-chain' })
    return reply.body.toString()
  }

  async revoke(certificate: Buffer, reason: RevocationReason): Promise<void> {
    const { revokeCert } = await this.#readDirectory()
    await this.#post(revokeCert, { certificate: certificate.toString('base64url'), reason: revocationReasons[reason] })
  }

  async changeKey(next: KeyObject): Promise<void> {
    const { keyChange } = await this.#readDirectory()
    const payload = { account: this.#accountUrl, oldKey: publicJwk(this.#access.key) }
    await this.#post(keyChange, await signJws({ key: next, payload, url: keyChange }))
  }

  async renewalWindow(certificateId: string): Promise<RenewalWindow | undefined> {
    const { renewalInfo } = await this.#readDirectory()
    if (renewalInfo === undefined) return undefined
    const reply = await this.#get(`${renewalInfo}/${certificateId}`)
    if (reply.status === 404) return undefined
    if (reply.status !== 200) throw new AppError('unreachable', `the CA answers ${reply.status} when asked when to renew`)
    const { suggestedWindow, explanationURL } = jsonOf<{
      suggestedWindow?: { start: string; end: string }
      explanationURL?: string
    }>(reply)
    const window = { start: new Date(suggestedWindow?.start ?? ''), end: new Date(suggestedWindow?.end ?? '') }
    if (Number.isNaN(window.start.getTime()) || !(window.end > window.start)) return undefined
    return { ...window, explanationUrl: explanationURL ?? '', retryAfterMs: retryAfterMs(reply) }
  }

  #readDirectory(): Promise<Directory> {
    this.#directory ??= this.#fetchDirectory()
    return this.#directory
  }

  async #fetchDirectory(): Promise<Directory> {
    const reply = await this.#get(this.#access.directoryUrl)
    const directory = reply.status === 200 ? jsonOf<Directory>(reply) : undefined
    if (typeof directory?.newOrder === 'string') return directory
    throw new AppError('unreachable', `"${this.#access.directoryUrl}" is not an ACME directory: it answers ${reply.status}`, {
      hint: 'check the URL of the CA',
    })
  }

  #get(url: string): Promise<OutboundReply> {
    return this.#outbound.request({ method: 'GET', url, trustAnchors: this.#access.trustAnchors }, this.#signal)
  }

  /** Signs and sends; a nonce that the CA does not like any more is replaced (RFC 8555, 6.5). */
  async #post(url: string, payload: unknown, headers: Record<string, string> = {}): Promise<OutboundReply> {
    for (let tries = 1; ; tries++) {
      const nonce = await this.#takeNonce()
      const jws = await signJws({ key: this.#access.key, payload, url, nonce, accountUrl: this.#accountUrl })
      const reply = await this.#outbound.request(
        {
          method: 'POST',
          url,
          headers: { 'content-type': 'application/jose+json', ...headers },
          body: JSON.stringify(jws),
          trustAnchors: this.#access.trustAnchors,
        },
        this.#signal,
      )
      this.#nonce = reply.headers['replay-nonce']
      const problem = problemIn(reply, url)
      if (problem === undefined) return reply
      if (!problem.isBadNonce || tries >= maxNonceTries) throw problem.error
    }
  }

  async #takeNonce(): Promise<string> {
    const kept = this.#nonce
    this.#nonce = undefined
    if (kept !== undefined) return kept
    const { newNonce } = await this.#readDirectory()
    const reply = await this.#outbound.request(
      { method: 'HEAD', url: newNonce, trustAnchors: this.#access.trustAnchors },
      this.#signal,
    )
    return headerOf(reply, 'replay-nonce')
  }
}

function orderOf(url: string, reply: OutboundReply): Order {
  const { status, authorizations, finalize, certificate, error } = jsonOf<OrderReply>(reply)
  return { url, status, authorizations, finalize, certificate, error: error?.detail, retryAfterMs: retryAfterMs(reply) }
}

function headerOf(reply: OutboundReply, name: string): string {
  const value = reply.headers[name]
  if (value === undefined) throw new AppError('refused-by-ca', `the CA answered ${reply.status} without the header "${name}"`)
  return value
}

function jsonOf<T>(reply: OutboundReply): T {
  try {
    return JSON.parse(reply.body.toString()) as T
  } catch (error) {
    throw new AppError('refused-by-ca', `the CA answered ${reply.status} with something that is not JSON`, { cause: error })
  }
}
