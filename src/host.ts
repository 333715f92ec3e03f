import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { accessCollections } from './access/collections.ts'
import { auditCollections } from './audit/audit.ts'
import type { Catalogue } from './backup/catalogue.ts'
import { openCatalogue } from './backup/host/catalogue.ts'
import { openDrills } from './backup/host/drills.ts'
import { openHostFiles } from './backup/host/host-files.ts'
import { oneAtATime, openHostLocks } from './backup/host/locks.ts'
import { openStanding } from './backup/host/standing.ts'
import { backupCollections } from './backup/last-point.ts'
import type { BackupParts, CapturedKeys, Progress, TargetAccess } from './backup/parts.ts'
import { targetCatalogue } from './backup/target-catalogue.ts'
import { certificateCollections } from './certificates/collections.ts'
import { parseEnvFile } from './config/env-file.ts'
import { environmentSecrets, type Loaded, loadConfig } from './config/load-config.ts'
import type { Config } from './config/schema.ts'
import { requiredSecret, secretNames, secretsFrom } from './config/secrets.ts'
import { AppError } from './core/app-error.ts'
import { type Clock, systemClock } from './core/clock.ts'
import { deployCollections } from './deploy/collections.ts'
import { epochCollections } from './epoch/epoch.ts'
import { idempotencyCollections } from './http/idempotency.ts'
import { jobCollections } from './jobs/job.ts'
import { kekCollections } from './kek/collections.ts'
import { openEnvKeyProvider } from './kek/env/key-provider.ts'
import { notifyCollections } from './notify/collections.ts'
import { openEnvFileSecretStore } from './secret-store/env-file/secret-store.ts'
import type { StoreExchange } from './store/staging.ts'
import type { CollectionSpec, Store } from './store/store.ts'
import { parseLocation, parseLocations } from './target/location.ts'
import type { Target, TargetLocation, TargetSecrets } from './target/target.ts'

export const appVersion = '0.1.0'

/** Every collection, declared by the noun that owns it. */
export const collections: CollectionSpec[] = [
  ...kekCollections,
  ...epochCollections,
  ...auditCollections,
  ...accessCollections,
  ...certificateCollections,
  ...jobCollections,
  ...backupCollections,
  ...notifyCollections,
  ...deployCollections,
  ...idempotencyCollections,
]

/** What is known of this host without opening its database. */
export interface Host extends Loaded {
  clock: Clock
  environment: NodeJS.ProcessEnv
  backup: BackupParts
}

export interface HostOptions {
  identityFile?: string | undefined
  /** Name or URL of a target: bundles are read there instead of the backup folder. */
  from?: string | undefined
  progress?: ((progress: Progress) => void) | undefined
  askPassphrase?: (() => Promise<string>) | undefined
}

async function noPassphrase(): Promise<string> {
  throw new AppError('usage', 'a passphrase protects the identity, and nobody can be asked for it')
}

/** Reads the configuration and chooses the technologies. @throws AppError `config` */
export function openHost(environment: NodeJS.ProcessEnv, options: HostOptions = {}): Host {
  const loaded = loadConfig(environment)
  return { ...loaded, clock: systemClock, environment, backup: backupParts(loaded, environment, options) }
}

/** As `config.yaml` says now: whom bundles are sealed to, and where copies go, counts from the next run on. Folders need a restart. */
export function presentParts({ environment, backup }: Host): BackupParts {
  const { config, targets } = openHost(environment).backup
  return { ...backup, config, targets }
}

function backupParts(loaded: Loaded, environment: NodeJS.ProcessEnv, options: HostOptions): BackupParts {
  const { paths, config, secrets } = loaded
  const targets = targetsOf(loaded, environment)
  const changing = oneAtATime(paths.run, 'bundle-states')
  const catalogue = openCatalogue(paths.backups, changing)
  const host = openHostFiles({
    paths,
    identityFile: options.identityFile ?? environment.CERTAUTOPILOT_IDENTITY,
    signingKey: secrets.signingKey,
    askPassphrase: options.askPassphrase ?? noPassphrase,
  })
  return {
    appVersion,
    clock: systemClock,
    config,
    collections,
    catalogue,
    source: options.from === undefined ? catalogue : fromTarget(targets, options.from, environment, () => host.signers()),
    standing: openStanding(paths.backups, changing),
    secretStore: openEnvFileSecretStore(paths.secrets, environmentSecrets(environment)),
    keysIn,
    openEnvelopes: async (content) => {
      const { startEnvelopeThread } = await import('./envelope-thread.ts')
      return startEnvelopeThread(content)
    },
    locks: openHostLocks(paths.run),
    targets,
    sendHeartbeat: () => sendHeartbeat(config),
    isTimerArmed: () => existsSync('/etc/systemd/system/timers.target.wants/certautopilot-backup.timer'),
    host,
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

/** @throws AppError `config` */
function targetsOf({ config, paths }: Loaded, environment: NodeJS.ProcessEnv): TargetAccess[] {
  const locations = parseLocations(config['backup.targets'])
  if (locations.length === 0) return []
  const kept = existsSync(paths.targets)
    ? parseEnvFile(readFileSync(paths.targets, 'utf8'), paths.targets)
    : new Map<string, string>()
  return locations.map((location) => {
    const prefix = `CAP_TARGET_${location.name.toUpperCase().replaceAll('-', '_')}_`
    const secrets: TargetSecrets = (name) => (environment[prefix + name] ?? kept.get(prefix + name)) || undefined
    return { location, open: () => openTarget(location, secrets) }
  })
}

/** Bundles at a target that is configured, or at any URL, with what the platform knows of credentials. */
function fromTarget(
  targets: readonly TargetAccess[],
  from: string,
  environment: NodeJS.ProcessEnv,
  signers: () => Promise<string[]>,
): Catalogue {
  const known = targets.find(({ location }) => location.name === from)
  if (known !== undefined) return targetCatalogue(known.open, `target "${from}"`, signers)
  if (!from.includes('://'))
    throw new AppError('not-found', `there is no target "${from}"`, {
      hint:
        targets.length === 0
          ? 'backup.targets in config.yaml names them; or give a URL'
          : `there are ${targets.map(({ location }) => location.name).join(', ')}; or give a URL`,
    })
  const location = parseLocation(from)
  const open = () => openTarget(location, (name) => environment[`CAP_TARGET_${name}`])
  return targetCatalogue(open, `"${from.split('?')[0]}"`, signers)
}

const heartbeatMs = 30_000

async function sendHeartbeat(config: Config): Promise<void> {
  const url = config['backup.heartbeat_url']
  if (url === '') return
  const outbound = (await import('./outbound/guarded/outbound.ts')).openOutbound(config['outbound.allow'])
  const { status } = await outbound.request({ method: 'GET', url }, AbortSignal.timeout(heartbeatMs))
  if (status >= 400) throw new AppError('unreachable', `the heartbeat URL at "${new URL(url).host}" answers ${status}`)
}

async function openTarget(location: TargetLocation, secrets: TargetSecrets): Promise<Target> {
  if (location.url.protocol === 'disk:') return (await import('./target/disk/target.ts')).openDiskTarget(location)
  if (location.url.protocol === 'azure-blob:')
    return (await import('./target/azure-blob/target.ts')).openAzureTarget(location, secrets)
  if (location.url.protocol === 'sftp:') return (await import('./target/sftp/target.ts')).openSftpTarget(location, secrets)
  return (await import('./target/s3/target.ts')).openS3Target(location, secrets)
}

/** What a `secrets.env` holds. @throws AppError `config` */
export function keysIn(content: Buffer): CapturedKeys {
  const secrets = secretsFrom(parseEnvFile(content.toString(), 'secrets.env'))
  const { installationId, signingKey, drillPassword } = secrets
  const needed = ['jwtSecret', 'apiKeyPepper', 'auditSecret', 'drillPassword'] as const
  const missing = needed.filter((key) => secrets[key] === undefined).map((key) => secretNames[key])
  return { provider: openEnvKeyProvider(secrets.keks), installationId, signingKey, drillPassword, missing }
}

/** Opens the database that is configured; the only place that knows which there are. */
export async function openStore({ paths, config, secrets }: Loaded): Promise<Store> {
  const databaseName = config['database.name']
  if (config['database.engine'] === 'embedded') {
    const { openEmbeddedStore } = await import('./store/embedded/store.ts')
    return openEmbeddedStore({ path: paths.database, databaseName })
  }
  const { openMongoStore } = await import('./store/mongodb/store.ts')
  const uri = requiredSecret(secrets, 'databaseUri').reveal()
  const answerMs = config['database.answer_seconds'] * 1000
  return openMongoStore({ uri, databaseName, readPreference: config['backup.read_preference'], answerMs })
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
