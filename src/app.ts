import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import type { AccessParts } from './access/access.ts'
import { systemActor } from './audit/audit.ts'
import { readAuditHead } from './audit/link-audit.ts'
import { expectedIntervalSeconds } from './backup/due-backup.ts'
import { publishFile } from './backup/host/files.ts'
import { lastPoint } from './backup/last-point.ts'
import { recoveryProof } from './backup/prove-recovery.ts'
import { acceptBackup, pinBackup, previewPrune, pruneBackups, unpinBackup } from './backup/prune-backups.ts'
import { listTarget } from './backup/target-catalogue.ts'
import { probeFindings, requireTarget, testTarget } from './backup/test-target.ts'
import { openPrivateKey } from './certificates/keys.ts'
import { requireCertificate } from './certificates/list-certificates.ts'
import type { CertificateParts } from './certificates/parts.ts'
import type { Config } from './config/schema.ts'
import { requiredSecret } from './config/secrets.ts'
import { AppError, systemCodeOf } from './core/app-error.ts'
import type { Clock } from './core/clock.ts'
import { Secret } from './core/secret.ts'
import type { Deployer, TargetAccess } from './deploy/deploy.ts'
import { deployAfterRenewal } from './deploy/deploy-certificate.ts'
import type { DeployParts } from './deploy/targets.ts'
import type { DnsAccess, DnsLookup, DnsProvider } from './dns/dns.ts'
import { type Anchor, type AnchorRecord, whyForeign } from './epoch/anchor.ts'
import { type Epoch, enterSafeMode, openEpoch, refuseInSafeMode } from './epoch/epoch.ts'
import { appVersion, collections, type Host, openStore, presentParts } from './host.ts'
import type { HttpParts } from './http/parts.ts'
import { openEnvKeyProvider } from './kek/env/key-provider.ts'
import { buildRegistry, type KekRegistry } from './kek/registry.ts'
import type { NotifyParts } from './notify/channels.ts'
import type { Channel, ChannelAccess } from './notify/notify.ts'
import type { Outbound } from './outbound/outbound.ts'
import { gatedStore } from './quiesce/gated-store.ts'
import type { WriteGate } from './quiesce/write-gate.ts'
import type { Store } from './store/store.ts'

export type Log = HttpParts['log'] & { info(data: object, message: string): void }

/** A running installation: the database is open and its keys fit. */
export interface App {
  host: Host
  config: Config
  clock: Clock
  store: Store
  kek: KekRegistry
  access: AccessParts
  certificates: CertificateParts
  notify: NotifyParts
  deploy: DeployParts
  auditSecret: Secret
  anchor: Anchor
  instance: string
  isDrill: boolean
  /** Whether what acts on the world may run now. */
  mayAct(): Promise<boolean>
  http(log: Log): HttpParts
}

export interface AppOptions {
  isDrill?: boolean
  publicUrl?: string
  /** The name of this process. */
  instance?: string
  /** What changes go through, so that they can be paused. */
  gate?: WriteGate
  /** Says from the first moment that this process lives. */
  startLife?(store: Store): Promise<AsyncDisposable>
}

export function newInstanceName({ config }: Host): string {
  return `${config['server.instance_name'] || hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
}

/**
 * Opens every part in order; closes in reverse when `stack` is disposed.
 * @throws AppError `config` · `unreachable` · `preflight` · `too-new` · `keys-do-not-fit`
 */
export async function openApp(host: Host, stack: AsyncDisposableStack, options: AppOptions = {}): Promise<App> {
  const { config, secrets, clock, paths } = host
  const isDrill = options.isDrill ?? false
  const provider = openEnvKeyProvider(secrets.keks)
  const raw = await openStore(host)
  stack.defer(() => raw.close())
  await raw.prepare(collections)
  if (options.startLife !== undefined) stack.use(await options.startLife(raw))
  const store = options.gate === undefined ? raw : gatedStore(raw, options.gate)
  const epoch = await openEpoch(store, clock.now())
  const kek = await buildRegistry({ store, provider, clock, collections }, secrets.installationId)
  const anchor = await openAnchor(store, kek, epoch, paths.anchor)
  const access: AccessParts = {
    store,
    clock,
    jwtSecret: requiredSecret(secrets, 'jwtSecret'),
    apiKeyPepper: requiredSecret(secrets, 'apiKeyPepper'),
    isDrill,
  }
  const certificates = certificateParts({ store, kek, clock, config, isDrill, publicUrl: options.publicUrl })
  if (isDrill) await makeDrillCa(certificates)
  const deploy = deployParts(certificates, config)
  if (!isDrill) certificates.afterRenewal = (id) => deployAfterRenewal(deploy, id)
  const auditSecret = requiredSecret(secrets, 'auditSecret')
  const app: App = {
    host,
    config,
    clock,
    store,
    kek,
    access,
    certificates,
    deploy,
    notify: { store, kek, clock, openChannel: (access) => openChannel(config, access) },
    auditSecret,
    anchor,
    instance: options.instance ?? newInstanceName(host),
    isDrill,
    mayAct: async () => isDrill || !(await store.get<Epoch>('epochs', 'state'))?.safe_mode,
    http: (log) => httpParts(app, log, options.gate),
  }
  return app
}

function certificateParts(input: {
  store: Store
  kek: KekRegistry
  clock: Clock
  config: Config
  isDrill: boolean
  publicUrl: string | undefined
}): CertificateParts {
  const { store, kek, clock, config, isDrill } = input
  return {
    store,
    kek,
    clock,
    issuers: {
      createCa: async (name, now) => (await import('./issuer/internal-ca/create-ca.ts')).createCa(name, now),
      open: (pair, crlUrl) => lazyIssuer(async () => (await import('./issuer/internal-ca/issuer.ts')).openInternalCa(pair, crlUrl)),
    },
    acme: async (access, signal) => (await import('./issuer/acme/acme.ts')).openAcme(await openOutboundFor(config), access, signal),
    dns: { open: (access) => openDns(config, access), lookup: (authorities) => openLookup(config, authorities) },
    webroot: webrootOf(config),
    publicUrl: config['server.public_url'] || input.publicUrl || `http://${config['server.host']}:${config['server.port']}`,
    renewBeforeDays: config['certificates.renew_before_days'],
    requireAllowed: isDrill ? drillRule() : (action) => refuseInSafeMode(store, action),
  }
}

async function openOutboundFor(config: Config): Promise<Outbound> {
  return (await import('./outbound/guarded/outbound.ts')).openOutbound(config['outbound.allow'])
}

function deployParts(certificates: CertificateParts, config: Config): DeployParts {
  const { store, kek, clock } = certificates
  return {
    store,
    kek,
    clock,
    requireAllowed: certificates.requireAllowed,
    openDeployer: (access) => openDeployer(config, access),
    async certificate(id) {
      const found = await requireCertificate(store, id)
      const { _id, name, fingerprint, not_after: notAfter, certificate_pem: certificatePem, chain_pem: chainPem } = found
      const key = await openPrivateKey(certificates, found)
      const keyPem = new Secret(key.export({ format: 'pem', type: 'pkcs8' }) as string)
      return { id: _id, name, fingerprint, notAfter, certificatePem, chainPem, keyPem }
    },
  }
}

async function openDeployer(config: Config, access: TargetAccess): Promise<Deployer> {
  const limits = { folders: config['deploy.folders'], commands: config['deploy.commands'] }
  if (access.kind === 'file') return (await import('./deploy/file/deployer.ts')).openFileDeployer(access, limits)
  return (await import('./deploy/webhook/deployer.ts')).openWebhookDeployer(await openOutboundFor(config), access)
}

async function openChannel(config: Config, access: ChannelAccess): Promise<Channel> {
  if (access.kind === 'smtp') return (await import('./notify/smtp/channel.ts')).openSmtp(access)
  return (await import('./notify/webhook/channel.ts')).openWebhook(await openOutboundFor(config), access)
}

async function openDns(config: Config, access: DnsAccess): Promise<DnsProvider> {
  if (access.provider === 'cloudflare')
    return (await import('./dns/cloudflare/dns.ts')).openCloudflare(await openOutboundFor(config), access)
  if (access.provider === 'route53')
    return (await import('./dns/route53/dns.ts')).openRoute53(await openOutboundFor(config), access)
  return (await import('./dns/rfc2136/dns.ts')).openRfc2136(access)
}

async function openLookup(config: Config, authorities: readonly string[]): Promise<DnsLookup> {
  return (await import('./dns/resolver/lookup.ts')).openDnsLookup({ resolvers: config['acme.resolvers'], authorities })
}

/** Answers to HTTP-01 as files: tokens are checked, because they become names. */
function webrootOf(config: Config): CertificateParts['webroot'] {
  const folder = config['acme.webroot']
  if (folder === '') return undefined
  const pathOf = (token: string) => join(folder, '.well-known', 'acme-challenge', checkedToken(token))
  return {
    async put(token, content) {
      await mkdir(dirname(pathOf(token)), { recursive: true })
      await writeFile(pathOf(token), content)
    },
    remove: (token) => rm(pathOf(token), { force: true }),
  }
}

function checkedToken(token: string): string {
  if (!/^[\w-]{1,200}$/.test(token)) throw new AppError('refused-by-ca', 'the CA gave a token that is no token (RFC 8555, 8.3)')
  return token
}

/** Loads the X.509 library when the first certificate is signed: a start does not need it. */
function lazyIssuer(
  open: () => Promise<ReturnType<CertificateParts['issuers']['open']>>,
): ReturnType<CertificateParts['issuers']['open']> {
  return {
    issue: async (request) => (await open()).issue(request),
    crl: async (revoked, number, now) => (await open()).crl(revoked, number, now),
  }
}

/** A drill may do one thing: renew one certificate. */
function drillRule(): (action: string) => Promise<void> {
  let isUsed = false
  return async (action) => {
    if (action !== 'renew a certificate' || isUsed) throw new AppError('safe-mode', `cannot ${action} in a drill`)
    isUsed = true
  }
}

/** In a drill a CA of its own signs: the keys of production's CAs stay unused. */
async function makeDrillCa(certificates: CertificateParts): Promise<void> {
  const { createAuthority } = await import('./certificates/authorities.ts')
  const authority = await createAuthority(certificates, { actor: systemActor }, `drill ${Date.now()}`)
  certificates.substituteCaId = authority._id
}

/** Notices a database that was put back by hand, and puts it into safe mode. */
async function openAnchor(store: Store, kek: KekRegistry, epoch: Epoch, path: string): Promise<Anchor> {
  const read = async (): Promise<AnchorRecord | undefined> => {
    const text = await readFile(path, 'utf8').catch(() => undefined)
    return text === undefined ? undefined : (JSON.parse(text) as AnchorRecord)
  }
  const write = (record: AnchorRecord) => publishFile(path, JSON.stringify(record))
  let current: AnchorRecord = {
    installation_id: kek.installationId,
    epoch: epoch.epoch,
    audit_seq: (await readAuditHead(store)).seq,
  }
  const reason = whyForeign(await read(), current)
  if (reason !== undefined) await enterSafeMode(store, systemActor, reason, new Date())
  await write(current)
  return {
    read,
    write,
    async note(head) {
      if (head.seq === current.audit_seq) return
      current = { ...current, audit_seq: head.seq }
      await write(current)
    },
  }
}

function httpParts(app: App, log: Log, gate: WriteGate | undefined): HttpParts {
  const { host, store, clock, access, certificates, notify, deploy, auditSecret } = app
  const { paths, secrets, config } = host
  return {
    appVersion,
    store,
    change: (work) => (gate === undefined ? work() : gate.run(work)),
    clock,
    access,
    certificates,
    notify,
    deploy,
    auditSecret,
    drillPassword: requiredSecret(secrets, 'drillPassword'),
    setupToken: async () => (await readFile(paths.setupToken, 'utf8').catch(() => '')).trim(),
    dropSetupToken: async () => {
      await unlink(paths.setupToken).catch((error) => {
        if (systemCodeOf(error) !== 'ENOENT') throw error
      })
    },
    recoveryKit: async () => ({ kit: await readKit(paths.recoveryKit), path: paths.recoveryKit }),
    backups: () => host.backup.catalogue.list(),
    backupsAt: async (name) => listTarget(await requireTarget(host.backup, name).open()),
    standing: () => host.backup.standing.read(),
    lastPoint: () => lastPoint(host.backup, store),
    recoveryProof: async () => {
      const { standing, config: present } = presentParts(host)
      return recoveryProof(await standing.read(), present['backup.recipients'], clock.now())
    },
    targets: host.backup.targets.map(({ location: { name, url } }) => ({
      name,
      kind: url.protocol.replace(':', ''),
      place: `${url.protocol}//${url.host}${decodeURIComponent(url.pathname)}`,
    })),
    async testTarget(name) {
      const { location, open } = requireTarget(host.backup, name)
      const probe = await testTarget(await open())
      return { ...probe, findings: probeFindings(probe, location.rules) }
    },
    retention: () => previewPrune(host.backup),
    acceptBackup: (name, reason, by) => acceptBackup(host.backup, name, reason, by),
    pinBackup: (name, pin) => (pin === undefined ? unpinBackup(host.backup, name) : pinBackup(host.backup, name, pin)),
    pruneBackups: () => pruneBackups(host.backup),
    backupIntervalSeconds: () => expectedIntervalSeconds(config, clock.now()),
    drills: async () => (await host.backup.drills.list()).map((signed) => signed.report),
    drillIntervalDays: config['drill.interval_days'],
    problems: async () => ({ ...(await problemOf('database', () => store.ping())) }),
    log,
  }
}

async function readKit(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error) => {
    throw new AppError('not-found', `the recovery kit is not at "${path}" any more`, { cause: error })
  })
}

async function problemOf(part: string, check: () => Promise<void>): Promise<Record<string, string>> {
  try {
    await check()
    return {}
  } catch (error) {
    return { [part]: error instanceof Error ? error.message : String(error) }
  }
}
