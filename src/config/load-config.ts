import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseDocument } from 'yaml'
import { AppError, isAppError, messageOf, systemCodeOf } from '../core/app-error.ts'
import { parseEnvFile } from './env-file.ts'
import { type Paths, pathsOf } from './paths.ts'
import { type Config, environmentName, parseSetting, type SettingKey, settingKeys, settings } from './schema.ts'
import { isSecretName, type Secrets, secretNames, secretsFrom } from './secrets.ts'

export interface Loaded {
  readonly paths: Paths
  readonly config: Config
  readonly secrets: Secrets
  readonly warnings: readonly string[]
}

/** Read by other parts of the program, not settings. */
const otherNames = new Set([
  'CERTAUTOPILOT_HOME',
  'CERTAUTOPILOT_IDENTITY',
  'CERTAUTOPILOT_PASSWORD',
  'CERTAUTOPILOT_PASSPHRASE',
  'CERTAUTOPILOT_EAB_HMAC_KEY',
  'CERTAUTOPILOT_DNS_SECRET',
  'CERTAUTOPILOT_NOTIFY_SECRET',
  'CERTAUTOPILOT_DEPLOY_SECRET',
])
/** Names of the original for settings that are called otherwise here. */
const aliases: Partial<Record<SettingKey, string>> = { 'backup.retain_days': 'CAP_BACKUP_RETAIN_DAYS' }
/** Names of the original that have no effect here. */
const retiredNames: Record<string, string> = {
  CERTAUTOPILOT_ENCRYPTION_CURRENT_VERSION: 'the active KEK version is kept in the database',
  CAP_MONGO_URI: `use ${secretNames.databaseUri}`,
}

/**
 * Reads defaults, then `config.yaml`, then the environment; secrets from `secrets.env`, then the environment.
 * @throws AppError `config` listing every problem at once
 */
export function loadConfig(environment: NodeJS.ProcessEnv): Loaded {
  const paths = pathsOf(environment)
  const problems: string[] = []
  const collect = <T>(run: () => T): T | undefined => {
    try {
      return run()
    } catch (error) {
      if (!isAppError(error, 'config')) throw error
      problems.push(error.message)
      return undefined
    }
  }
  const values: Partial<Record<SettingKey, unknown>> = {}
  const assign = (key: SettingKey, value: unknown, source: string) => {
    values[key] = collect(() => parseSetting(key, value, source))
  }
  for (const [key, value] of collect(() => readConfigFile(paths.config)) ?? []) {
    if (key in settings) assign(key as SettingKey, value, paths.config)
    else problems.push(`${paths.config}: unknown key "${key}"`)
  }
  for (const key of settingKeys) {
    const name = [environmentName(key), aliases[key] ?? ''].find((candidate) => environment[candidate] !== undefined)
    if (name === undefined) continue
    const inFile = values[key]
    assign(key, environment[name], name)
    if (longestCounts.has(key)) values[key] = longest(inFile, values[key])
  }
  problems.push(...unknownNames(environment))
  const secrets = collect(() => secretsFrom(readSecretValues(paths.secrets, environment)))
  if (problems.length > 0 || secrets === undefined) throw configError(problems)
  return {
    paths: withDirectories(paths, values),
    config: completed(values, secrets),
    secrets,
    warnings: warningsFor(environment, [paths.secrets, paths.targets]),
  }
}

/** What the environment says of these does not make what the file says any shorter: a timer's script has a default of its own. */
const longestCounts = new Set<SettingKey>(['backup.retain_days'])

function longest(...values: unknown[]): number {
  return Math.max(...values.filter((value) => typeof value === 'number'))
}

/** Parses the text of a `config.yaml` into dotted keys. @throws AppError `config` */
export function parseConfigText(content: string, path: string): [key: string, value: unknown][] {
  const document = parseDocument(content, { prettyErrors: true })
  const problem = document.errors[0]
  if (problem !== undefined) throw new AppError('config', `${path}: ${problem.message}`)
  const root: unknown = document.toJS()
  if (root === null || root === undefined) return []
  if (typeof root !== 'object' || Array.isArray(root)) throw new AppError('config', `${path}: expected sections such as "server:"`)
  return Object.entries(root).flatMap(([section, members]) => {
    if (members === null || typeof members !== 'object' || Array.isArray(members)) return [[section, members] as [string, unknown]]
    return Object.entries(members).map(([key, value]): [string, unknown] => [`${section}.${key}`, value])
  })
}

function readConfigFile(path: string): [string, unknown][] {
  const content = readOptional(path)
  return content === undefined ? [] : parseConfigText(content, path)
}

/** The secrets that the environment itself holds. */
export function environmentSecrets(environment: NodeJS.ProcessEnv): Map<string, string> {
  const found = Object.entries(environment).filter(([name, value]) => isSecretName(name) && value !== undefined)
  return new Map(found as [string, string][])
}

/** `secrets.env` and, over it, what the environment says. */
function readSecretValues(path: string, environment: NodeJS.ProcessEnv): Map<string, string> {
  const content = readOptional(path)
  const values = content === undefined ? new Map<string, string>() : parseEnvFile(content, path)
  for (const [name, value] of environmentSecrets(environment)) values.set(name, value)
  return values
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw new AppError('config', `cannot read "${path}": ${messageOf(error)}`, { cause: error })
  }
}

function unknownNames(environment: NodeJS.ProcessEnv): string[] {
  const known = new Set([...settingKeys.map(environmentName), ...otherNames, ...Object.keys(retiredNames)])
  return Object.keys(environment)
    .filter((name) => name.startsWith('CERTAUTOPILOT_') && !known.has(name) && !isSecretName(name))
    .map((name) => `unknown environment variable "${name}"`)
}

function completed(values: Partial<Record<SettingKey, unknown>>, secrets: Secrets): Config {
  const all = settingKeys.map((key) => [key, values[key] ?? settings[key].default] as const)
  const config = Object.fromEntries(all) as unknown as Record<SettingKey, unknown>
  if (values['database.engine'] === undefined && secrets.databaseUri !== undefined) config['database.engine'] = 'mongodb'
  return Object.freeze(config) as unknown as Config
}

function withDirectories(paths: Paths, values: Partial<Record<SettingKey, unknown>>): Paths {
  const directory = values['backup.directory'] as string | undefined
  return directory ? { ...paths, backups: join(directory) } : paths
}

function warningsFor(environment: NodeJS.ProcessEnv, secretPaths: readonly string[]): string[] {
  const retired = Object.entries(retiredNames).filter(([name]) => environment[name] !== undefined)
  const open = secretPaths.filter((path) => ((statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o077) !== 0)
  return [
    ...retired.map(([name, remedy]) => `"${name}" has no effect: ${remedy}`),
    ...open.map((path) => `"${path}" can be read by others: run chmod 600 on it`),
  ]
}

function configError(problems: string[]): AppError {
  const list =
    problems.length === 1 ? problems[0] : `${problems.length} problems:\n${problems.map((problem) => `  ${problem}`).join('\n')}`
  return new AppError('config', `configuration: ${list}`, {
    hint: '"certautopilot config show" lists every setting with its default',
  })
}
