import { isIP } from 'node:net'
import { audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import type { ChallengeType } from '../issuer/ordering-issuer.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import { requireAccount } from './acme-accounts.ts'
import type { Certificate } from './collections.ts'
import { neverRenewed, renewalWorks } from './describe.ts'
import { requireCredential } from './dns-credentials.ts'
import { checkedNames } from './issue-certificate.ts'
import type { KeyTypeName } from './keys.ts'
import type { CertificateParts, Request } from './parts.ts'
import { requireProject } from './projects.ts'

export const issueJobKind = 'certificate.issue'

export interface RequestInput {
  project: string
  account?: string | undefined
  names: readonly string[]
  challenge?: ChallengeType | undefined
  dnsCredential?: string | undefined
  keyType?: KeyTypeName | undefined
  autoRenew?: boolean | undefined
}

/**
 * Asks for a certificate from an ACME CA: it is listed as requested at once, and a job gets it.
 * @throws AppError `not-found` project, account or credential · `usage` names or challenge · `safe-mode`
 */
export async function requestCertificate(
  parts: CertificateParts,
  request: Request,
  input: RequestInput,
): Promise<{ certificate: Certificate; job: Job }> {
  await parts.requireAllowed('issue a certificate')
  const project = await requireProject(parts.store, input.project)
  const account = await requireAccount(parts.store, input.account, project._id)
  const names = checkedNames(input.names)
  const challenge = input.challenge ?? (input.dnsCredential === undefined ? 'http-01' : 'dns-01')
  refuseUnprovable(names, challenge, input.dnsCredential)
  const credential =
    challenge === 'dns-01' ? await requireCredential(parts.store, input.dnsCredential ?? '', project._id) : undefined
  const now = parts.clock.now()
  const id = newId(now.getTime())
  const certificate: Certificate = {
    _id: id,
    project_id: project._id,
    name: names[0] as string,
    sans: names,
    kind: 'managed',
    status: 'requested',
    ca_id: '',
    account_id: account._id,
    challenge,
    dns_credential_id: credential?._id ?? '',
    ari_check_at: neverRenewed,
    ...renewalWorks,
    issuer: account.name,
    serial: '',
    fingerprint: `requested ${id}`,
    key_type: keyTypeText(input.keyType ?? 'ec-p256'),
    not_before: now,
    not_after: neverRenewed,
    certificate_pem: '',
    chain_pem: '',
    key_id: '',
    previous_key_id: '',
    auto_renew: input.autoRenew ?? true,
    next_renewal_at: neverRenewed,
    validity_days: 0,
    search: [...names, account.name].join(' ').slice(0, 1000),
    created_at: now,
  }
  const { job, change } = queuedJob(issueJobKind, id, request.actor, now)
  await parts.store.commit([
    { insert: 'certificates', document: certificate },
    change,
    audited(request.actor, 'certificate.requested', id, {
      name: certificate.name,
      project: project._id,
      account: account.name,
      job: job._id,
    }),
  ])
  return { certificate, job }
}

/** @throws AppError `usage` */
export function refuseUnprovable(names: readonly string[], challenge: ChallengeType, dnsCredential: string | undefined): void {
  const address = names.find((name) => isIP(name) !== 0)
  if (address !== undefined) throw new AppError('usage', `"${address}" is an address: an ACME CA is asked for names here`)
  if (challenge === 'dns-01' && dnsCredential === undefined)
    throw new AppError('usage', 'dns-01 needs a DNS credential', { hint: '"certautopilot dns create" makes one' })
  const wildcard = names.find((name) => name.startsWith('*.'))
  if (wildcard !== undefined && challenge === 'http-01')
    throw new AppError('usage', `"${wildcard}" can only be proven by dns-01`, { hint: 'give a DNS credential' })
}

/** `ec-p256` as a stored certificate spells it. */
function keyTypeText(type: KeyTypeName): string {
  return type.toUpperCase().replace('EC-P', 'EC P-').replace('RSA-', 'RSA ')
}
