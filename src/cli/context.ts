import type { BackupParts } from '../backup/parts.ts'
import type { Loaded } from '../config/load-config.ts'
import type { Store } from '../store/store.ts'
import type { Output } from './output.ts'

/** Where a secret is taken from when nobody can be asked. */
export type SecretVariable =
  | 'CERTAUTOPILOT_PASSWORD'
  | 'CERTAUTOPILOT_PASSPHRASE'
  | 'CERTAUTOPILOT_EAB_HMAC_KEY'
  | 'CERTAUTOPILOT_DNS_SECRET'

/** What a command works with; `main.ts` makes it. */
export interface Context {
  out: Output
  signal: AbortSignal
  environment: NodeJS.ProcessEnv
  isInteractive: boolean
  /** Configuration and files of this host. @throws AppError `config` */
  host(options?: { identityFile?: string | undefined; from?: string | undefined }): Promise<Loaded & { backup: BackupParts }>
  /** Opens the database that is configured, and closes it after `use`. */
  withStore<T>(host: { backup: BackupParts }, use: (store: Store) => Promise<T>): Promise<T>
  /** A request to the running service, as the operator on the host. @throws AppError `unreachable` · as the service answered */
  api<T>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T>
  download(method: 'GET' | 'POST', path: string, body?: unknown): Promise<Buffer>
  serve(options: {
    profile: 'normal' | 'drill'
    mode: 'all' | 'api' | 'worker' | 'scheduler'
    socket?: string | undefined
  }): Promise<void>
  setUpHome(settings: { databaseUri?: string | undefined }): Promise<{ made: string[]; kept: string[] }>
  /** The one-time token of this host. @throws AppError `not-found` */
  setupToken(): Promise<string>
  quickstart(options: { exit: boolean; yes: boolean }): Promise<void>
  /** Asks on the terminal without showing the answer; or takes it from CERTAUTOPILOT_PASSWORD or standard input. */
  askSecret(question: string, variable: SecretVariable): Promise<string>
}
