import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { accessCollections } from './access/collections.ts'
import { auditCollections } from './audit/audit.ts'
import { openCatalogue } from './backup/host/catalogue.ts'
import { openDrills } from './backup/host/drills.ts'
import { openHostFiles } from './backup/host/host-files.ts'
import { openHostLocks } from './backup/host/locks.ts'
import type { BackupParts, CapturedKeys, Progress } from './backup/parts.ts'
import { certificateCollections } from './certificates/collections.ts'
import { parseEnvFile } from './config/env-file.ts'
import { environmentSecrets, type Loaded, loadConfig } from './config/load-config.ts'
import type { Config } from './config/schema.ts'
import { requiredSecret, secretNames, secretsFrom } from './config/secrets.ts'
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

export const appVersion = '0.1.0'

/** Every collection, declared by the noun that owns it. */
export const collections: CollectionSpec[] = [
  ...kekCollections,
  ...epochCollections,
  ...auditCollections,
  ...accessCollections,
  ...certificateCollections,
  ...jobCollections,
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
    secretStore: openEnvFileSecretStore(paths.secrets, environmentSecrets(environment)),
    keysIn,
    openEnvelopes: async (content) => {
      const { startEnvelopeThread } = await import('./envelope-thread.ts')
      return startEnvelopeThread(content)
    },
    locks: openHostLocks(paths.run),
    isTimerArmed: () => existsSync('/etc/systemd/system/timers.target.wants/certautopilot-backup.timer'),
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
