import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'

/** Where everything of one installation lives. */
export interface Paths {
  home: string
  config: string
  secrets: string
  /** Opens local bundles without a person. Kept out of bundles, so that whoever opens one cannot open the others. */
  hostIdentity: string
  /** Lies beside the home folder, not in it. */
  recoveryKit: string
  tls: string
  mongoRoot: string
  database: string
  anchor: string
  restore: string
  drills: string
  run: string
  setupToken: string
  adminSocket: string
  backups: string
  /** Credentials of targets. Kept out of bundles, so that whoever opens one cannot reach the others. */
  targets: string
}

export function pathsOf(environment: NodeJS.ProcessEnv): Paths {
  const dataHome = environment.XDG_DATA_HOME
  const root = dataHome !== undefined && isAbsolute(dataHome) ? dataHome : join(homedir(), '.local', 'share')
  return pathsIn(resolve(environment.CERTAUTOPILOT_HOME || join(root, 'certautopilot')))
}

export function pathsIn(home: string): Paths {
  const inHome = (...parts: string[]) => join(home, ...parts)
  return {
    home,
    config: inHome('config.yaml'),
    secrets: inHome('secrets.env'),
    hostIdentity: inHome('host-identity.txt'),
    recoveryKit: join(dirname(home), `${basename(home)}-recovery-kit.txt`),
    tls: inHome('tls'),
    mongoRoot: inHome('mongo-root.env'),
    database: inHome('data', 'certautopilot.db'),
    anchor: inHome('run', 'anchor.json'),
    restore: inHome('restore'),
    drills: inHome('drills'),
    run: inHome('run'),
    setupToken: inHome('run', 'setup-token'),
    adminSocket: inHome('run', 'admin.sock'),
    backups: inHome('backups'),
    targets: inHome('targets.env'),
  }
}
