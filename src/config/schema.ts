import { Cron } from 'croner'
import { AppError } from '../core/app-error.ts'

/** How a value is written, checked and explained. */
interface Kind<T> {
  expected: string
  parse(text: string): T | undefined
}

const text: Kind<string> = { expected: 'a text', parse: (value) => value || undefined }
const port: Kind<number> = { expected: 'a port from 0 to 65535', parse: (value) => integerBetween(value, 0, 65_535) }
const days: Kind<number> = { expected: 'a number of days from 1 to 3650', parse: (value) => integerBetween(value, 1, 3650) }
const seconds: Kind<number> = {
  expected: 'a number of seconds from 1 to 86400',
  parse: (value) => integerBetween(value, 1, 86_400),
}
const percent: Kind<number> = { expected: 'a percentage from 0 to 100', parse: (value) => integerBetween(value, 0, 100) }
const count: Kind<number> = { expected: 'a number from 1 to 64', parse: (value) => integerBetween(value, 1, 64) }
const tally: Kind<number> = { expected: 'a number from 0 to 3650', parse: (value) => integerBetween(value, 0, 3650) }
const zone: Kind<string> = {
  expected: 'a time zone such as "Europe/Berlin"',
  parse: (value) => (isTimeZone(value) ? value : undefined),
}
const schedule: Kind<string> = {
  expected: 'five fields of cron such as "15 3 * * *", or "off"',
  parse: (value) => (value === 'off' || isCron(value) ? value : undefined),
}
const flag: Kind<boolean> = {
  expected: '"true" or "false"',
  parse: (value) => (value === 'true' || value === 'false' ? value === 'true' : undefined),
}
const list: Kind<string[]> = {
  expected: 'a list of texts',
  parse: (value) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
}

function oneOf<const T extends string>(...choices: T[]): Kind<T> {
  return {
    expected: choices.map((choice) => `"${choice}"`).join(' or '),
    parse: (value) => choices.find((choice) => choice === value),
  }
}

function isCron(value: string): boolean {
  try {
    new Cron(value, { mode: '5-part', paused: true })
    return true
  } catch {
    return false
  }
}

function isTimeZone(value: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: value })
    return true
  } catch {
    return false
  }
}

function integerBetween(value: string, least: number, most: number): number | undefined {
  const number = Number(value)
  return /^\d+$/.test(value) && number >= least && number <= most ? number : undefined
}

export interface Setting<T> {
  kind: Kind<T>
  default: T
  /** Belongs to this host: a restore does not take it from a bundle. */
  isHostBound: boolean
  help: string
}

function setting<T>(kind: Kind<T>, initial: NoInfer<T>, help: string): Setting<T> {
  return { kind, default: initial, isHostBound: false, help }
}

function hostSetting<T>(kind: Kind<T>, initial: NoInfer<T>, help: string): Setting<T> {
  return { kind, default: initial, isHostBound: true, help }
}

/** Every setting of `config.yaml`. `server.host` is the key `host` under `server`, and `CERTAUTOPILOT_SERVER_HOST` in the environment. */
export const settings = {
  'server.host': hostSetting(text, '127.0.0.1', 'address that the service listens on'),
  'server.port': hostSetting(port, 8181, 'port that the service listens on; 0 takes a free one'),
  'server.public_url': hostSetting(
    text,
    '',
    'URL under which clients reach the service; stands in certificates as the place of the CRL',
  ),
  'server.instance_name': hostSetting(text, '', 'name of this process in heartbeats and leases; the host name if empty'),
  'database.engine': hostSetting(
    oneOf('embedded', 'mongodb'),
    'embedded',
    'which database: one file, or a MongoDB server (CERTAUTOPILOT_DATABASE_URI)',
  ),
  'database.name': hostSetting(text, 'certautopilot', 'name of the database, and in dumps of it'),
  'database.answer_seconds': hostSetting(seconds, 60, 'how long MongoDB may take for one answer while a backup reads it'),
  'logging.level': hostSetting(oneOf('debug', 'info', 'warn', 'error', 'silent'), 'info', 'least severity that is logged'),
  'encryption.provider': setting(oneOf('env'), 'env', 'where the KEK lives'),
  'scheduler.interval_seconds': setting(seconds, 60, 'how often due work is looked for'),
  'worker.concurrency': setting(count, 4, 'jobs that one process runs at once'),
  'worker.lease_seconds': setting(seconds, 60, 'after this long without a sign of life a job is given to another worker'),
  'outbound.allow': hostSetting(
    list,
    [] as string[],
    'addresses, ranges or host names that may be reached although they are not public: an ACME CA of your own, for example',
  ),
  'acme.http01_port': hostSetting(
    port,
    0,
    'port of a listener of its own for HTTP-01 (CAs ask at 80); 0 for none, the service answers too',
  ),
  'acme.webroot': hostSetting(text, '', 'folder in which another web server looks for HTTP-01 answers, if there is one'),
  'acme.resolvers': hostSetting(
    list,
    [] as string[],
    "name servers that are asked, ADDRESS or ADDRESS:PORT; the system's if empty",
  ),
  'deploy.folders': hostSetting(list, [] as string[], 'folders into which deployments may write files'),
  'deploy.commands': hostSetting(
    list,
    [] as string[],
    'whole command lines that deployments may run after writing, without a shell',
  ),
  'certificates.renew_before_days': setting(days, 30, 'days before expiry at which a certificate is renewed'),
  'backup.directory': hostSetting(text, '', 'where bundles are kept; "backups" in the home folder if empty'),
  'backup.targets': hostSetting(
    list,
    [] as string[],
    'where copies of bundles go, NAME=URL each: disk:///mnt/backup, s3://bucket/folder?endpoint=https://s3.example.org; credentials stand in targets.env',
  ),
  'backup.heartbeat_url': hostSetting(
    text,
    '',
    'is fetched after each backup that is whole, at every target too: a watcher elsewhere notices when it stays out',
  ),
  'backup.consistency': setting(
    oneOf('snapshot', 'quiesced'),
    'snapshot',
    'how one point in time is held: "snapshot" while the service goes on, and writers pause only where the server proves none; or "quiesced" always',
  ),
  'backup.pause_wait_seconds': setting(
    seconds,
    30,
    'how long every process may take to stop writing before a quiesced backup fails',
  ),
  'backup.max_write_pause_seconds': setting(
    seconds,
    60,
    'writers go on after so long, and a quiesced backup that needs more fails',
  ),
  'backup.read_preference': hostSetting(
    oneOf('primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', 'nearest'),
    'primary',
    'which member of a MongoDB replica set a backup reads',
  ),
  'backup.seal': setting(oneOf('age', 'none'), 'age', 'whether bundles are encrypted to the recipients'),
  'backup.recipients': setting(list, [] as string[], 'age recipients of people who can restore (age1...)'),
  'backup.host_identity': setting(
    flag,
    true,
    'whether bundles on this host are sealed to it as well, so that verification and drills need no person; false for people only',
  ),
  'backup.schedule': hostSetting(
    schedule,
    '15 3 * * *',
    'when the service takes a backup by itself (cron: minute hour day month weekday); "off" for never. Where the timer of systemd is armed, that takes it',
  ),
  'backup.time_zone': hostSetting(
    zone,
    '',
    'IANA name of the zone of the schedule and of retention; the zone of the host if empty',
  ),
  'backup.after_new_keys': setting(
    tally,
    100,
    'a backup also follows this many new private keys, a new CA or a new KEK; 0 for not',
  ),
  'backup.keep_daily': hostSetting(tally, 7, 'bundles that stay: the newest of each of so many days that have one'),
  'backup.keep_weekly': hostSetting(tally, 0, 'the same for weeks'),
  'backup.keep_monthly': hostSetting(tally, 0, 'the same for months'),
  'backup.keep_least': hostSetting(count, 3, 'of the bundles that verified so many of the newest stay, whatever else is said'),
  'backup.retain_days': hostSetting(
    tally,
    0,
    'every bundle younger than so many days stays as well (CAP_BACKUP_RETAIN_DAYS); 0 for no such rule',
  ),
  'backup.max_count_drop_percent': setting(percent, 50, 'a count that falls by more since the last bundle makes a bundle suspect'),
  'drill.max_drift_percent': setting(percent, 5, 'how far counts of a drill may be from production'),
  'drill.interval_days': setting(days, 90, 'a drill is overdue when the last one is older'),
} as const

export type SettingKey = keyof typeof settings
export type Config = { readonly [K in SettingKey]: (typeof settings)[K] extends Setting<infer T> ? T : never }

export const settingKeys = Object.keys(settings) as SettingKey[]

export function environmentName(key: SettingKey): string {
  return `CERTAUTOPILOT_${key.replaceAll('.', '_').toUpperCase()}`
}

/** Parses one value. @throws AppError `config` naming key, value and what was expected */
export function parseSetting(key: SettingKey, value: unknown, source: string): unknown {
  const { kind } = settings[key] as Setting<unknown>
  const isScalar = ['string', 'number', 'boolean'].includes(typeof value)
  const text = Array.isArray(value) ? value.join(',') : String(value ?? '')
  const allowsEmpty = settings[key].default === '' && text === ''
  const parsed = allowsEmpty ? '' : isScalar || Array.isArray(value) ? kind.parse(text) : undefined
  if (parsed === undefined) throw new AppError('config', `${source}: "${key}" is "${text}", expected ${kind.expected}`)
  return parsed
}
