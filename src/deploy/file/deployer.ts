import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, chown, copyFile, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, isAbsolute, normalize, sep } from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import type { DeployedCertificate, Deployer, DeployLimits, TargetAccess } from '../deploy.ts'

const run = promisify(execFile)
const commandTimeoutMs = 60_000
const checkTimeoutMs = 10_000
const checkTries = 5

interface FilePlan {
  path: string
  content: string
  mode: number
}

/**
 * Writes files, runs a command that makes the server read them, and asks the server for its certificate. Settings: `certificate_path`
 * (leaf and chain), `key_path`, `chain_path`, `mode` (octal, of the key, 600), `owner` (`UID:GID`), `reload` (a command line, run without a
 * shell), `check` (`HOST:PORT`). @throws AppError `usage` a setting · `forbidden` not among the host's limits
 */
export function openFileDeployer({ settings }: TargetAccess, limits: DeployLimits): Deployer {
  const paths = ['certificate_path', 'key_path', 'chain_path'].map((name) => settings[name]).filter((path) => path !== undefined)
  if (settings.certificate_path === undefined) throw new AppError('usage', 'a file target needs "certificate_path"')
  for (const path of paths) requireAllowedPath(path, limits)
  if (settings.reload !== undefined) requireAllowedCommand(settings.reload, limits)
  if (settings.owner !== undefined && !/^\d+:\d+$/.test(settings.owner))
    throw new AppError('usage', `"owner" is "${settings.owner}", expected UID:GID`)
  if (settings.mode !== undefined && !/^[0-7]{3,4}$/.test(settings.mode))
    throw new AppError('usage', `"mode" is "${settings.mode}", expected octal digits`)
  if (settings.check !== undefined && !/^[^\s:]+:\d+$/.test(settings.check))
    throw new AppError('usage', `"check" is "${settings.check}", expected HOST:PORT`)
  return {
    async deploy(certificate, _key, step, signal) {
      const plans = plansOf(settings, certificate)
      const isWritten = await areWritten(plans)
      const isSeen = settings.check === undefined ? settings.reload === undefined : await serves(settings.check, certificate)
      if (isWritten && isSeen) return step('it is there already')
      const kept = await Promise.all(plans.map(keepPrevious))
      try {
        for (const plan of plans) await replaceFile(plan, settings.owner)
        await step(`wrote ${plans.map(({ path }) => path).join(', ')}`)
        await reload(settings.reload, step, signal)
        if (settings.check !== undefined) await requireServed(settings.check, certificate, step)
      } catch (error) {
        await putBack(plans, kept)
        await reload(settings.reload, step, signal).catch(() => {})
        throw new AppError('deploy-failed', `${messageOf(error)}; what was there before is in use again`, { cause: error })
      }
    },
  }
}

function requireAllowedPath(path: string, { folders }: DeployLimits): void {
  const isInside = folders.some((folder) => path.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`))
  if (isAbsolute(path) && normalize(path) === path && isInside) return
  throw new AppError('forbidden', `"${path}" is not in a folder that deployments may write to`, {
    hint: 'add its folder to deploy.folders in config.yaml on the host',
  })
}

function requireAllowedCommand(command: string, { commands }: DeployLimits): void {
  if (commands.includes(command)) return
  throw new AppError('forbidden', `"${command}" is not a command that deployments may run`, {
    hint: 'add it, letter by letter, to deploy.commands in config.yaml on the host',
  })
}

function plansOf(settings: Readonly<Record<string, string>>, certificate: DeployedCertificate): FilePlan[] {
  const { certificate_path, chain_path, key_path } = settings
  return [
    ...(key_path === undefined
      ? []
      : [{ path: key_path, content: certificate.keyPem.reveal(), mode: Number.parseInt(settings.mode ?? '600', 8) }]),
    ...(chain_path === undefined ? [] : [{ path: chain_path, content: certificate.chainPem, mode: 0o644 }]),
    { path: certificate_path as string, content: certificate.certificatePem + certificate.chainPem, mode: 0o644 },
  ]
}

async function areWritten(plans: FilePlan[]): Promise<boolean> {
  for (const { path, content } of plans) if ((await readFile(path, 'utf8').catch(() => undefined)) !== content) return false
  return true
}

async function serves(check: string, certificate: DeployedCertificate): Promise<boolean> {
  return (await servedFingerprint(check, certificate.name).catch(() => '')) === certificate.fingerprint
}

/**
 * A copy beside the file, as `NAME.previous`; what an attempt that died has written already is not what was there before.
 * @returns whether there is something to put back
 */
async function keepPrevious({ path, content }: FilePlan): Promise<boolean> {
  const present = await readFile(path, 'utf8').catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw new AppError('deploy-failed', `cannot keep what is at "${path}": ${messageOf(error)}`, { cause: error })
  })
  if (present === content)
    return stat(`${path}.previous`).then(
      () => true,
      () => false,
    )
  if (present === undefined) return false
  await copyFile(path, `${path}.previous`)
  await chmod(`${path}.previous`, 0o600)
  return true
}

/** A reader sees the old file or the new one, whole, and never with wider permissions than it is to have. */
async function replaceFile({ path, content, mode }: FilePlan, owner: string | undefined): Promise<void> {
  const temporary = `${path}.${randomUUID()}.new`
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(content)
    if (owner !== undefined) await file.chown(...(owner.split(':').map(Number) as [number, number]))
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const folder = await open(dirname(path), 'r')
  await folder.sync().finally(() => folder.close())
}

async function putBack(plans: FilePlan[], kept: boolean[]): Promise<void> {
  for (const [index, { path, mode }] of plans.entries()) {
    if (!kept[index]) {
      await rm(path, { force: true })
      continue
    }
    const { uid, gid } = await stat(path)
    const temporary = `${path}.${randomUUID()}.new`
    await copyFile(`${path}.previous`, temporary)
    await chown(temporary, uid, gid).catch(() => {})
    await chmod(temporary, mode)
    await rename(temporary, path)
  }
}

/** The words of the command line are its arguments: no shell looks at them. */
async function reload(command: string | undefined, step: (text: string) => Promise<void>, signal: AbortSignal): Promise<void> {
  if (command === undefined) return
  const [program, ...words] = command.split(/\s+/) as [string, ...string[]]
  try {
    await run(program, words, {
      timeout: commandTimeoutMs,
      signal,
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    })
    await step(`ran "${command}"`)
  } catch (error) {
    const { stderr } = error as { stderr?: string }
    throw new AppError('deploy-failed', `"${command}" failed: ${(stderr || messageOf(error)).trim().slice(0, 500)}`, {
      cause: error,
    })
  }
}

/** A server may need a moment after a reload. */
async function requireServed(
  check: string,
  certificate: DeployedCertificate,
  step: (text: string) => Promise<void>,
): Promise<void> {
  let seen = ''
  for (let tries = 0; tries < checkTries; tries++) {
    seen = await servedFingerprint(check, certificate.name).catch((error) => messageOf(error))
    if (seen === certificate.fingerprint) return step(`"${check}" serves it`)
    await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** tries))
  }
  throw new AppError('deploy-failed', `"${check}" does not serve the new certificate but ${seen}`)
}

/** SHA-256 of what a server shows for a name. Whether it is trusted is not the question here. */
function servedFingerprint(check: string, name: string): Promise<string> {
  const [host, port] = check.split(':') as [string, string]
  return new Promise((resolve, reject) => {
    const servername = /^[a-z0-9.-]+$/i.test(name) && !/^[\d.]+$/.test(name) ? name : undefined
    const socket = connect(
      { host, port: Number(port), rejectUnauthorized: false, ...(servername === undefined ? {} : { servername }) },
      () => {
        resolve(socket.getPeerCertificate().fingerprint256.replaceAll(':', '').toLowerCase())
        socket.destroy()
      },
    )
    socket.setTimeout(checkTimeoutMs, () => socket.destroy(new Error(`no answer within ${checkTimeoutMs / 1000} s`)))
    socket.once('error', reject)
  })
}
