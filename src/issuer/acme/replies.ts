import { AppError } from '../../core/app-error.ts'
import type { OutboundReply } from '../../outbound/outbound.ts'

const prefix = 'urn:ietf:params:acme:error:'
const defaultWaitMs = 1_000
const maxWaitMs = 24 * 3600 * 1000

/** What an operator does about a refusal (RFC 8555, 6.7). */
const hints: Record<string, string> = {
  externalAccountRequired: 'this CA wants an external account: give its key id and HMAC key when the account is made',
  userActionRequired: 'the CA has new terms: agree to them on its site',
  rejectedIdentifier: 'the CA does not issue for this name: look at its policy, and at CAA records',
  caa: 'a CAA record forbids this CA: add one that names it',
  dns: 'the CA found no answer in the DNS: look at the zone and its delegation',
  connection: 'the CA could not connect: port 80 of every address of the name must reach this service',
  unauthorized: 'the CA saw something else than the answer to its challenge: look for a proxy or an old record',
  accountDoesNotExist: 'the CA does not know this account any more: make a new one',
  invalidProfile: 'the CA does not offer this profile',
  alreadyReplaced: 'this certificate was renewed elsewhere already',
}

/** The failure in a reply, if it is one. */
export function problemIn(reply: OutboundReply, url: string): { error: AppError; isBadNonce: boolean } | undefined {
  if (reply.status < 400) return undefined
  const problem = parsed(reply.body)
  const kind = (problem.type ?? '').replace(prefix, '')
  const parts = (problem.subproblems ?? []).map((part) => `${part.identifier?.value ?? '?'}: ${part.detail ?? part.type ?? ''}`)
  const text = [problem.detail ?? `status ${reply.status} from ${new URL(url).host}`, ...parts].join('; ')
  const isLimit = kind === 'rateLimited' || reply.status === 429 || reply.status === 503
  const error = new AppError(isLimit ? 'throttled' : 'refused-by-ca', `the CA says: ${text}${kind === '' ? '' : ` (${kind})`}`, {
    ...(hints[kind] === undefined ? {} : { hint: hints[kind] as string }),
    details: { kind, retry_after_ms: isLimit ? retryAfterMs(reply) : 0 },
  })
  return { error, isBadNonce: kind === 'badNonce' }
}

/** How long the CA asks to wait: seconds or a date (RFC 9110, 10.2.3). */
export function retryAfterMs(reply: OutboundReply): number {
  const text = reply.headers['retry-after']
  if (text === undefined) return defaultWaitMs
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isFinite(waitMs) ? Math.min(Math.max(waitMs, 0), maxWaitMs) : defaultWaitMs
}

interface AcmeProblem {
  type?: string
  detail?: string
  subproblems?: { type?: string; detail?: string; identifier?: { value?: string } }[]
}

function parsed(body: Buffer): AcmeProblem {
  try {
    return JSON.parse(body.toString()) as AcmeProblem
  } catch {
    return {}
  }
}
