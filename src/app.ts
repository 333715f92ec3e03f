import { readFile, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AccessParts } from './access/access.ts'
import { accessCollections } from './access/collections.ts'
import { auditCollections, systemActor } from './audit/audit.ts'
import { readAuditHead } from './audit/link-audit.ts'
import { openCatalogue } from './backup/host/catalogue.ts'
import { openDrills } from './backup/host/drills.ts'
import { publishFile } from './backup/host/files.ts'
import { openHostFiles } from './backup/host/host-files.ts'
import { openHostLocks } from './backup/host/locks.ts'
import type { BackupParts, CapturedKeys, Progress } from './backup/parts.ts'
import { certificateCollections } from './certificates/collections.ts'
import type { CertificateParts } from './certificates/parts.ts'
import { parseEnvFile } from './config/env-file.ts'
import { type Loaded, loadConfig, readSecretValues } from './config/load-config.ts'
import type { Config } from './config/schema.ts'
import { requiredSecret, secretsFrom } from './config/secrets.ts'
import { AppError, systemCodeOf } from './core/app-error.ts'
import { type Clock, systemClock } from './core/clock.ts'
import type { Secret } from './core/secret.ts'
import { type Anchor, type AnchorRecord, whyForeign } from './epoch/anchor.ts'
import { type Epoch, enterSafeMode, epochCollections, openEpoch, refuseInSafeMode } from './epoch/epoch.ts'
import type { HttpParts } from './http/parts.ts'
import { jobCollections } from './jobs/job.ts'
import { kekCollections } from './kek/collections.ts'
import { openEnvKeyProvider } from './kek/env/key-provider.ts'
import { buildRegistry, type KekRegistry } from './kek/registry.ts'
import { openEnvFileSecretStore } from './secret-store/env-file/secret-store.ts'
import type { StoreExchange } from './store/staging.ts'
import type { CollectionSpec, Store } from './store/store.ts'

export const appVersion = '0.1.0'

/** Every collection, declared by the noun that owns it. */
export const collections: CollectionSpec[] = [
  ...kekCollections,
  ...epochCollections,
  ...auditCollections,
  ...accessCollections,
  ...certificateCollections,
  ...jobCollections,
]

export type Log = HttpParts['log'] & { info(data: object, message: string): void }

/** What is known of this host without opening its database. */
export interface Host extends Loaded {
  clock: Clock
  environment: NodeJS.ProcessEnv
  backup: BackupParts
}

export interface HostOptions {
  identityFile?: string | undefined
  progress?: ((progress: Progress) => void) | undefined
}

/** Reads the configuration and chooses the technologies. @throws AppError `config` */
export function openHost(environment: NodeJS.ProcessEnv, options: HostOptions = {}): Host {
  const loaded = loadConfig(environment)
  return { ...loaded, clock: systemClock, environment, backup: backupParts(loaded, environment, options) }
}

function backupParts(loaded: Loaded, environment: NodeJS.ProcessEnv, options: HostOptions): BackupParts {
  const { paths, config, secrets } = loaded
  return {
    appVersion,
    clock: systemClock,
    config,
    collections,
    catalogue: openCatalogue(paths.backups),
    secretStore: openEnvFileSecretStore(paths.secrets, readSecretValues(paths.secrets, environment)),
    keysIn,
    openEnvelopes: async (content) => {
      const { startEnvelopeThread } = await import('./envelope-thread.ts')
      return startEnvelopeThread(content)
    },
    locks: openHostLocks(paths.run),
    host: openHostFiles({
      paths,
      identityFile: options.identityFile ?? environment.CERTAUTOPILOT_IDENTITY,
      signingKey: secrets.signingKey,
    }),
    openStore: () => openStore(loaded),
    openExchange: () => openExchange(loaded),
    openDrillGround: async () => {
      const { openDrillGround } = await import('./backup/host/drill-ground.ts')
      const mainScript = fileURLToPath(new URL('./main.ts', import.meta.url))
      return openDrillGround({ parent: paths.drills, mainScript, openExchange: (path) => embeddedExchange(path, config) })
    },
    drills: openDrills(paths.drills),
    progress: options.progress ?? (() => {}),
  }
}

/** What a `secrets.env` holds. @throws AppError `config` */
export function keysIn(content: Buffer): CapturedKeys {
  const secrets = secretsFrom(parseEnvFile(content.toString(), 'secrets.env'))
  const { installationId, signingKey, drillPassword } = secrets
  return { provider: openEnvKeyProvider(secrets.keks), installationId, signingKey, drillPassword }
}

/** Opens the database that is configured; the only place that knows which there are. */
export async function openStore({ paths, config, secrets }: Loaded): Promise<Store> {
  const databaseName = config['database.name']
  if (config['database.engine'] === 'embedded') {
    const { openEmbeddedStore } = await import('./store/embedded/store.ts')
    return openEmbeddedStore({ path: paths.database, databaseName })
  }
  const { openMongoStore } = await import('./store/mongodb/store.ts')
  return openMongoStore({ uri: requiredSecret(secrets, 'databaseUri').reveal(), databaseName })
}

async function openExchange({ paths, config, secrets }: Loaded): Promise<StoreExchange & AsyncDisposable> {
  if (config['database.engine'] === 'embedded') return embeddedExchange(paths.database, config)
  const { openMongoExchange } = await import('./store/mongodb/exchange.ts')
  return openMongoExchange({ uri: requiredSecret(secrets, 'databaseUri').reveal(), databaseName: config['database.name'] })
}

async function embeddedExchange(path: string, config: Config): Promise<StoreExchange & AsyncDisposable> {
  const { openEmbeddedExchange } = await import('./store/embedded/exchange.ts')
  const exchange = openEmbeddedExchange({ path, databaseName: config['database.name'] })
  return Object.assign(exchange, { [Symbol.asyncDispose]: async () => {} })
}

/** A running installation: the database is open and its keys fit. */
export interface App {
  host: Host
  config: Config
  clock: Clock
  store: Store
  kek: KekRegistry
  access: AccessParts
  certificates: CertificateParts
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
}

/**
 * Opens every part in order; closes in reverse when `stack` is disposed.
 * @throws AppError `config` · `unreachable` · `preflight` · `too-new` · `keys-do-not-fit`
 */
export async function openApp(host: Host, stack: AsyncDisposableStack, options: AppOptions = {}): Promise<App> {
  const { config, secrets, clock, paths } = host
  const isDrill = options.isDrill ?? false
  const provider = openEnvKeyProvider(secrets.keks)
  const store = await openStore(host)
  stack.defer(() => store.close())
  await store.prepare(collections)
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
  const auditSecret = requiredSecret(secrets, 'auditSecret')
  const app: App = {
    host,
    config,
    clock,
    store,
    kek,
    access,
    certificates,
    auditSecret,
    anchor,
    instance: `${config['server.instance_name'] || hostname()}-${process.pid}`,
    isDrill,
    mayAct: async () => isDrill || !(await store.get<Epoch>('epochs', 'state'))?.safe_mode,
    http: (log) => httpParts(app, log),
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
    publicUrl: config['server.public_url'] || input.publicUrl || `http://${config['server.host']}:${config['server.port']}`,
    renewBeforeDays: config['certificates.renew_before_days'],
    requireAllowed: isDrill ? drillRule() : (action) => refuseInSafeMode(store, action),
  }
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

function httpParts(app: App, log: Log): HttpParts {
  const { host, store, clock, access, certificates, auditSecret } = app
  const { paths, secrets, config } = host
  return {
    appVersion,
    store,
    clock,
    access,
    certificates,
    auditSecret,
    drillPassword: requiredSecret(secrets, 'drillPassword'),
    setupToken: async () => (await readFile(paths.setupToken, 'utf8').catch(() => '')).trim(),
    dropSetupToken: async () => {
      await unlink(paths.setupToken).catch((error) => {
        if (systemCodeOf(error) !== 'ENOENT') throw error
      })
    },
    backups: () => host.backup.catalogue.list(),
    drills: async () => (await host.backup.drills.list()).map((signed) => signed.report),
    drillIntervalDays: config['drill.interval_days'],
    problems: async () => ({ ...(await problemOf('database', () => store.ping())) }),
    log,
  }
}

async function problemOf(part: string, check: () => Promise<void>): Promise<Record<string, string>> {
  try {
    await check()
    return {}
  } catch (error) {
    return { [part]: error instanceof Error ? error.message : String(error) }
  }
}

/** Folder of the checkout or package. */
export const programFolder = dirname(join(fileURLToPath(new URL('.', import.meta.url))))
