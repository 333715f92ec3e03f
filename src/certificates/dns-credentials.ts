import { randomBytes } from 'node:crypto'
import { audited } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { secondMs, sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { DnsLookup, DnsProvider, DnsProviderName, TxtRecord } from '../dns/dns.ts'
import type { EnvelopePlace } from '../kek/envelope.ts'
import type { Store } from '../store/store.ts'
import type { DnsCredential } from './collections.ts'
import type { CertificateParts, Request } from './parts.ts'
import { requireProject } from './projects.ts'

export interface CredentialInput {
  project: string
  name: string
  provider: DnsProviderName
  settings: Record<string, string>
  secret: Secret
}

/** How long a record may take to be seen at all servers of its zone. */
const propagationMs = 120 * secondMs
const lookEveryMs = secondMs

/** @throws AppError `usage` a setting · `exists` */
export async function createCredential(parts: CertificateParts, request: Request, input: CredentialInput): Promise<DnsCredential> {
  const project = await requireProject(parts.store, input.project)
  await parts.dns.open({ provider: input.provider, settings: input.settings, secret: input.secret.reveal() })
  const now = parts.clock.now()
  const id = newId(now.getTime())
  const credential: DnsCredential = {
    _id: id,
    project_id: project._id,
    name: input.name,
    provider: input.provider,
    settings: input.settings,
    encrypted_api_key: parts.kek.seal(place(id), Buffer.from(input.secret.reveal())),
    kek_version: parts.kek.activeVersion,
    probed_at: null,
    probe_error: '',
    created_at: now,
  }
  try {
    await parts.store.commit([
      { insert: 'dns_credentials', document: credential },
      audited(request.actor, 'dns-credential.created', id, { name: input.name, provider: input.provider }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists'))
      throw new AppError('exists', `there is a DNS credential "${input.name}" already`, { cause: error })
    throw error
  }
  return credential
}

/** The credential with this id or name. @throws AppError `not-found` */
export async function requireCredential(store: Store, idOrName: string, projectId?: string): Promise<DnsCredential> {
  const byId = await store.get<DnsCredential>('dns_credentials', idOrName)
  if (byId !== undefined && (projectId === undefined || byId.project_id === projectId)) return byId
  const where = { ...(projectId === undefined ? {} : { project_id: projectId }), name: idOrName }
  const found = (await store.find<DnsCredential>('dns_credentials', { where })).items[0]
  if (found === undefined)
    throw new AppError('not-found', `there is no DNS credential "${idOrName}" in this project`, {
      hint: '"certautopilot dns list" shows them, "dns create" makes one',
    })
  return found
}

/** @throws AppError `not-found` · `conflict` certificates use it */
export async function removeCredential(parts: CertificateParts, request: Request, id: string): Promise<void> {
  const credential = await requireCredential(parts.store, id)
  const count = await parts.store.count('certificates', { dns_credential_id: credential._id })
  if (count > 0)
    throw new AppError('conflict', `DNS credential "${credential.name}" still proves the names of ${count} certificates`)
  await parts.store.commit([
    { remove: 'dns_credentials', id: credential._id },
    audited(request.actor, 'dns-credential.removed', credential._id, { name: credential.name }),
  ])
}

export interface OpenedCredential {
  provider: DnsProvider
  lookup: DnsLookup
}

export async function openCredential(parts: CertificateParts, credential: DnsCredential): Promise<OpenedCredential> {
  const secret = parts.kek.open(place(credential._id), credential.encrypted_api_key).toString()
  const authorities = (credential.settings.check_servers ?? '').split(',').map((server) => server.trim())
  return {
    provider: await parts.dns.open({ provider: credential.provider, settings: credential.settings, secret }),
    lookup: await parts.dns.lookup(authorities.filter((server) => server !== '')),
  }
}

/** The record that proves a name, where aliases lead. */
export async function challengeRecord({ lookup }: OpenedCredential, domain: string, value: string): Promise<TxtRecord> {
  const name = await lookup.canonicalName(`_acme-challenge.${domain}`)
  return { zone: await lookup.zoneOf(name), name, value }
}

/** Waits until every server of the zone shows the record. @throws AppError `refused-by-dns` it took too long */
export async function waitUntilSeen({ lookup }: OpenedCredential, record: TxtRecord, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + propagationMs
  for (;;) {
    const seen = await lookup.valuesAtServers(record.zone, record.name)
    const missing = seen.filter(({ values }) => !values.includes(record.value))
    if (missing.length === 0) return
    if (Date.now() > deadline || signal.aborted) {
      const servers = missing.map(({ server }) => server).join(', ')
      throw new AppError('refused-by-dns', `"${record.name}" is not seen at ${servers} after ${propagationMs / 1000} s`, {
        hint: 'do the secondaries of the zone follow its primary?',
      })
    }
    await sleep(lookEveryMs, signal)
  }
}

/**
 * Proves a credential: writes a record, sees it at the zone's servers, and removes it.
 * @throws AppError `refused-by-dns` · `unreachable` · `safe-mode`; what was found is remembered
 */
export async function probeCredential(
  parts: CertificateParts,
  request: Request,
  input: { id: string; domain: string },
  signal: AbortSignal,
): Promise<{ zone: string; name: string; seconds: number }> {
  await parts.requireAllowed('change a DNS zone')
  const credential = await requireCredential(parts.store, input.id)
  const started = performance.now()
  try {
    const opened = await openCredential(parts, credential)
    const name = `_certautopilot-probe.${input.domain}`
    const record: TxtRecord = { zone: await opened.lookup.zoneOf(input.domain), name, value: randomBytes(16).toString('hex') }
    await opened.provider.publish(record, signal)
    try {
      await waitUntilSeen(opened, record, signal)
    } finally {
      await opened.provider.withdraw(record, AbortSignal.timeout(30 * secondMs))
    }
    await remember(parts, request, credential, '')
    return { zone: record.zone, name, seconds: (performance.now() - started) / 1000 }
  } catch (error) {
    await remember(parts, request, credential, messageOf(error))
    throw error
  }
}

async function remember(parts: CertificateParts, request: Request, credential: DnsCredential, problem: string): Promise<void> {
  const probed: DnsCredential = { ...credential, probed_at: parts.clock.now(), probe_error: problem }
  const data = { name: credential.name, outcome: problem || 'works' }
  await parts.store.commit([
    { replace: 'dns_credentials', document: probed },
    audited(request.actor, 'dns-credential.probed', credential._id, data),
  ])
}

function place(id: string): EnvelopePlace {
  return { collection: 'dns_credentials', recordId: id, field: 'encrypted_api_key' }
}
