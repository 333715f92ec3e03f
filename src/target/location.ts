import { AppError } from '../core/app-error.ts'
import type { TargetLocation, TargetRules } from './target.ts'

export const targetKinds = ['disk', 's3', 'azure-blob', 'sftp'] as const
const rulesOffHost: TargetRules = { daily: 30, weekly: 13, monthly: 12, lockDays: 0, lockMode: 'none' }
const known = {
  disk: ['keep_daily', 'keep_weekly', 'keep_monthly'],
  'azure-blob': ['keep_daily', 'keep_weekly', 'keep_monthly', 'timeout_seconds', 'endpoint', 'lock_days', 'lock_mode'],
  sftp: ['keep_daily', 'keep_weekly', 'keep_monthly', 'timeout_seconds', 'host_key'],
  s3: [
    'keep_daily',
    'keep_weekly',
    'keep_monthly',
    'timeout_seconds',
    'endpoint',
    'region',
    'lock_days',
    'lock_mode',
    'sse',
    'kms_key',
    'storage_class',
  ],
} as const

/**
 * Reads `NAME=URL`, or a URL alone, whose name is then its scheme: `disk:///mnt/backup`, `s3://bucket/folder?endpoint=https://...`, `sftp://user@host/folder?host_key=SHA256:...`.
 * @throws AppError `config` naming what is wrong
 */
export function parseLocation(text: string): TargetLocation {
  const [, given, address = ''] = text.match(/^(?:([A-Za-z0-9_-]{1,32})=)?([a-z0-9-]+:\/\/.*)$/) ?? []
  const url = URL.canParse(address) ? new URL(address) : undefined
  const kind = targetKinds.find((candidate) => url?.protocol === `${candidate}:`)
  if (url === undefined || kind === undefined)
    throw wrong(
      text,
      'expected NAME=URL, with a URL such as disk:///mnt/backup, s3://bucket/folder?endpoint=https://s3.example.org, azure-blob://account/container/folder or sftp://user@host/folder?host_key=SHA256:...',
    )
  if (url.password !== '' || (kind !== 'sftp' && url.username !== ''))
    throw wrong(text, 'credentials do not belong here, but into targets.env')
  if (kind === 'sftp' && !/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(url.searchParams.get('host_key')?.replaceAll(' ', '+') ?? ''))
    throw wrong(text, 'the host key has to be pinned: host_key=SHA256:..., as "ssh-keygen -lf" shows it on the server')
  const stranger = [...url.searchParams.keys()].find((key) => !(known[kind] as readonly string[]).includes(key))
  if (stranger !== undefined) throw wrong(text, `"${stranger}" is not known; there are ${known[kind].join(', ')}`)
  if (kind === 'azure-blob' && (url.hostname === '' || url.pathname.length < 2))
    throw wrong(text, 'the account or the container is missing')
  if (kind === 'disk' && url.hostname !== '') throw wrong(text, `a path has three slashes: disk:///${url.hostname}${url.pathname}`)
  if (kind === 's3' && url.hostname === '') throw wrong(text, 'the bucket is missing')
  const silenceMs = numberIn(text, url.searchParams, 'timeout_seconds', 60) * 1000
  return { name: given ?? kind, url, rules: rulesOf(text, url.searchParams), silenceMs }
}

/** @throws AppError `config` also when two have one name */
export function parseLocations(texts: readonly string[]): TargetLocation[] {
  const locations = texts.map(parseLocation)
  const twice = locations.find(({ name }, index) => locations.findIndex((other) => other.name === name) !== index)
  if (twice !== undefined) throw new AppError('config', `backup.targets: two targets are called "${twice.name}"`)
  return locations
}

function rulesOf(text: string, parameters: URLSearchParams): TargetRules {
  const number = (key: string, initial: number) => numberIn(text, parameters, key, initial)
  const lockDays = number('lock_days', rulesOffHost.lockDays)
  const lockMode = parameters.get('lock_mode') ?? (lockDays > 0 ? 'governance' : 'none')
  if (lockMode !== 'governance' && lockMode !== 'compliance' && lockMode !== 'none')
    throw wrong(text, `"lock_mode" is "${lockMode}", expected governance, compliance or none`)
  return {
    daily: number('keep_daily', rulesOffHost.daily),
    weekly: number('keep_weekly', rulesOffHost.weekly),
    monthly: number('keep_monthly', rulesOffHost.monthly),
    lockDays,
    lockMode,
  }
}

/** What the names of objects begin with: the folder and a slash, or nothing. */
export function prefixOf({ pathname }: URL): string {
  const folder = decodeURIComponent(pathname).replace(/^\/+|\/+$/g, '')
  return folder === '' ? '' : `${folder}/`
}

function numberIn(text: string, parameters: URLSearchParams, key: string, initial: number): number {
  const value = parameters.get(key)
  if (value === null) return initial
  if (!/^\d{1,4}$/.test(value)) throw wrong(text, `"${key}" is "${value}", expected a number`)
  return Number(value)
}

function wrong(text: string, problem: string): AppError {
  const shown = text.replace(/\/\/[^/@]*@/, '//...@')
  return new AppError('config', `backup.targets: "${shown}": ${problem}`)
}
