import { isAppError, messageOf } from '../core/app-error.ts'
import { dayMs } from '../core/clock.ts'
import type { ChallengeType } from '../issuer/ordering-issuer.ts'
import { orderHeadroom, requireAccount } from './acme-accounts.ts'
import type { AcmeAccount } from './collections.ts'
import { requireCredential } from './dns-credentials.ts'
import { checkedNames } from './issue-certificate.ts'
import { listCertificates } from './list-certificates.ts'
import type { CertificateParts } from './parts.ts'
import { requireProject } from './projects.ts'
import { refuseUnprovable } from './request-certificate.ts'

export interface Check {
  state: 'ok' | 'warning' | 'failing'
  text: string
}

export interface PreflightInput {
  project: string
  names: readonly string[]
  acme?: { account?: string | undefined; challenge?: ChallengeType | undefined; dnsCredential?: string | undefined } | undefined
}

/** What the best-known CA issues for the same names in a week. */
const samePerWeek = 5
const lookupMs = 4_000

/** Looks at what would go wrong, without asking any CA. Changes nothing. @throws AppError `not-found` the project */
export async function preflight(parts: CertificateParts, input: PreflightInput): Promise<Check[]> {
  const project = await requireProject(parts.store, input.project)
  const checks: Check[] = []
  const note = (state: Check['state'], text: string) => checks.push({ state, text })
  await parts.requireAllowed('issue a certificate').catch((error) => note('failing', messageOf(error)))
  const names = namesOf(input.names, note)
  if (names.length === 0) return checks
  const same = (await listCertificates(parts.store, { projectId: project._id, search: names[0] }, parts.clock.now())).items.find(
    ({ sans, status }) => status === 'active' && sans.length === names.length && sans.every((name) => names.includes(name)),
  )
  if (same !== undefined)
    note(
      'warning',
      `there is one for these names already, valid until ${same.not_after.toISOString().slice(0, 10)}: to renew it is enough`,
    )
  if (input.acme === undefined) return checks
  try {
    const account = await requireAccount(parts.store, input.acme.account, project._id)
    await checkLimits(parts, account, names, note)
    await checkProof(parts, project._id, input.acme, names, note)
  } catch (error) {
    if (!isAppError(error)) throw error
    note('failing', error.message)
  }
  return checks
}

type Note = (state: Check['state'], text: string) => unknown

function namesOf(given: readonly string[], note: Note): readonly string[] {
  try {
    const names = checkedNames(given)
    note('ok', names.length === 1 ? 'the name is well formed' : `all ${names.length} names are well formed`)
    return names
  } catch (error) {
    if (!isAppError(error)) throw error
    note('failing', error.message)
    return []
  }
}

async function checkLimits({ store, clock }: CertificateParts, account: AcmeAccount, names: readonly string[], note: Note) {
  const now = clock.now()
  const { used, limit, hours } = await orderHeadroom(store, account, now)
  const text = `account "${account.name}" has placed ${used} orders in ${hours} h; Let's Encrypt allows ${limit}`
  note(used >= limit ? 'failing' : used > limit * 0.8 ? 'warning' : 'ok', text)
  const same = await store.count('acme_order_log', {
    account_id: account._id,
    at: { gte: new Date(now.getTime() - 7 * dayMs) },
    names: names.toSorted().join(' '),
  })
  if (same >= samePerWeek)
    note('warning', `these names were ordered ${same} times in 7 days; Let's Encrypt issues the same ${samePerWeek} times`)
}

async function checkProof(
  parts: CertificateParts,
  projectId: string,
  { challenge, dnsCredential }: NonNullable<PreflightInput['acme']>,
  names: readonly string[],
  note: Note,
) {
  const used = challenge ?? (dnsCredential === undefined ? 'http-01' : 'dns-01')
  refuseUnprovable(names, used, dnsCredential)
  if (used === 'dns-01') {
    const { name, probed_at, probe_error } = await requireCredential(parts.store, dnsCredential ?? '', projectId)
    if (probe_error !== '') note('failing', `the last test of DNS credential "${name}" failed: ${probe_error}`)
    else
      note(
        probed_at === null ? 'warning' : 'ok',
        `DNS credential "${name}" ${probed_at === null ? 'was never tested' : 'worked when it was tested'}`,
      )
  } else note('warning', 'port 80 of every address of the names has to reach this service: that cannot be seen from here')
  const lookup = await parts.dns.lookup([])
  for (const name of names.slice(0, 10)) {
    const late = new Promise<never>((_resolve, reject) =>
      setTimeout(() => reject(new Error('no answer in time')), lookupMs).unref(),
    )
    await Promise.race([lookup.zoneOf(name.replace(/^\*\./, '')), late]).then(
      (zone) => note('ok', `"${name}" lies in the zone "${zone}"`),
      (error) => note('warning', `"${name}" could not be looked up: ${messageOf(error)}`),
    )
  }
}
