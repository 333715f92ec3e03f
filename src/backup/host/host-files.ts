import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, realpath, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseDocument } from 'yaml'
import { newIdentity, openIdentities, recipientOf } from '../../bundle/age-keys.ts'
import { configName, mongoRootName, signerOf, tlsPrefix } from '../../bundle/manifest.ts'
import type { Member } from '../../bundle/write-bundle.ts'
import { formatEnvFile, parseEnvFile } from '../../config/env-file.ts'
import type { Paths } from '../../config/paths.ts'
import { type SettingKey, settings } from '../../config/schema.ts'
import { hostBoundSecretNames } from '../../config/secrets.ts'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import type { Secret } from '../../core/secret.ts'
import type { HostFiles, RestoreJournal } from '../parts.ts'
import { publishFile, syncDirectory } from './files.ts'
import { writeRecipients } from './recipients.ts'

export interface HostOptions {
  paths: Paths
  /** An identity file or recovery kit that the operator named. */
  identityFile: string | undefined
  /** Opens an identity that is protected. @throws AppError `usage` nobody can be asked */
  askPassphrase(): Promise<string>
  /** The key this installation signs with, if it has one. */
  signingKey: Secret | undefined
}

/** Files that a restore exchanges, in this order: the one that makes the service startable is last. */
const exchanged = ['tls', 'config', 'secrets'] as const

export function openHostFiles(options: HostOptions): HostFiles {
  return new Host(options)
}

class Host implements HostFiles {
  readonly #paths: Paths
  readonly #options: HostOptions
  /** What the operator named is opened once: a passphrase is asked for once. */
  #given: Promise<Secret[]> | undefined

  constructor(options: HostOptions) {
    this.#paths = options.paths
    this.#options = options
  }

  writePrivateFile(path: string, content: string): Promise<void> {
    return publishFile(path, content)
  }

  writeRecipients(recipients: readonly string[]): Promise<void> {
    return writeRecipients(this.#paths.config, recipients)
  }

  async members(): Promise<Member[]> {
    const config = await readMember(this.#paths.config, configName)
    const mongoRoot = await readMember(this.#paths.mongoRoot, mongoRootName)
    return [...config, ...mongoRoot, ...(await tlsMembers(this.#paths.tls, tlsPrefix))]
  }

  async hostRecipient(): Promise<string> {
    const existing = await readOptional(this.#paths.hostIdentity)
    if (existing !== undefined) {
      const [own] = await openIdentities(existing, this.#paths.hostIdentity, this.#options.askPassphrase)
      return recipientOf(own as Secret)
    }
    const { identity, recipient } = await newIdentity()
    await publishFile(
      this.#paths.hostIdentity,
      `# opens local bundles on this host; not part of any bundle\n# ${recipient}\n${identity.reveal()}\n`,
    )
    return recipient
  }

  identities(): Promise<Secret[]> {
    const { identityFile } = this.#options
    if (identityFile === undefined) return this.#identitiesIn(this.#paths.hostIdentity)
    this.#given ??= this.#identitiesIn(identityFile).then((found) => {
      if (found.length === 0) throw new AppError('not-found', `there is no identity file "${identityFile}"`)
      return found
    })
    return this.#given
  }

  async #identitiesIn(path: string): Promise<Secret[]> {
    const text = await readOptional(path)
    return text === undefined ? [] : openIdentities(text, path, this.#options.askPassphrase)
  }

  async signers(): Promise<string[]> {
    const own = this.#options.signingKey === undefined ? [] : [signerOf(this.#options.signingKey)]
    const kit = this.#options.identityFile === undefined ? undefined : await readOptional(this.#options.identityFile)
    return [...own, ...(kit?.match(/ed25519:[A-Za-z0-9+/]{43}=/g) ?? [])]
  }

  /** Portable settings come from the bundle, host-bound ones stay those of this host. */
  async stageFiles(id: string, files: ReadonlyMap<string, Buffer>): Promise<void> {
    await this.#removeLeftovers()
    const folder = this.#folder(id, 'staged')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const secrets = mergedSecrets(files.get('secrets.env')?.toString(), await readOptional(this.#paths.secrets))
    if (secrets !== undefined) await publishFile(join(folder, 'secrets'), secrets)
    const config = mergedConfig(files.get(configName)?.toString(), await readOptional(this.#paths.config))
    if (config !== undefined) await publishFile(join(folder, 'config'), config)
    for (const [name, content] of files) {
      if (name.startsWith(tlsPrefix)) await publishFile(join(folder, name), content)
    }
  }

  async swapFiles(id: string): Promise<void> {
    const [staged, previous] = [this.#folder(id, 'staged'), this.#folder(id, 'previous')]
    await mkdir(previous, { recursive: true, mode: 0o700 })
    for (const name of exchanged) {
      if (!existsSync(join(staged, name))) continue
      if (existsSync(this.#paths[name])) moveOnce(this.#paths[name], join(previous, name))
      else writeFileSync(join(previous, `${name}.absent`), '')
      renameSync(join(staged, name), this.#paths[name])
      await chmod(this.#paths[name], name === 'tls' ? 0o700 : 0o600)
    }
    await this.#finishSwap()
  }

  async swapFilesBack(id: string): Promise<void> {
    const [undone, previous] = [this.#folder(id, 'undone'), this.#folder(id, 'previous')]
    await mkdir(undone, { recursive: true, mode: 0o700 })
    for (const name of exchanged) {
      if (existsSync(join(previous, `${name}.absent`))) {
        moveOnce(this.#paths[name], join(undone, name))
      } else if (existsSync(join(previous, name))) {
        moveOnce(this.#paths[name], join(undone, name))
        renameSync(join(previous, name), this.#paths[name])
      }
    }
    await this.#finishSwap()
  }

  async forgetFiles(id: string): Promise<void> {
    await rm(join(this.#paths.restore, id), { recursive: true, force: true })
  }

  /** The database is another one on purpose, so what this host remembered of the one before does not count. */
  async #finishSwap(): Promise<void> {
    rmSync(this.#paths.anchor, { force: true })
    await syncDirectory(this.#paths.home)
  }

  /** What a restore left that was killed before its cut-over: it holds keys. */
  async #removeLeftovers(): Promise<void> {
    const names = await readdir(this.#paths.restore).catch(() => [])
    const journal = await this.readJournal()
    for (const name of names) {
      if (/^[0-9a-z]{26}$/.test(name) && name !== journal?.id) await this.forgetFiles(name)
    }
  }

  async readJournal(): Promise<RestoreJournal | undefined> {
    const text = await readOptional(this.#journalPath())
    return text === undefined ? undefined : (JSON.parse(text) as RestoreJournal)
  }

  async writeJournal(journal: RestoreJournal): Promise<void> {
    await publishFile(this.#journalPath(), JSON.stringify(journal, null, 2))
  }

  #journalPath(): string {
    return join(this.#paths.restore, 'journal.json')
  }

  #folder(id: string, role: 'staged' | 'previous' | 'undone'): string {
    return join(this.#paths.restore, id, role)
  }
}

function moveOnce(from: string, to: string): void {
  if (existsSync(to) || !existsSync(from)) return
  rmSync(to, { recursive: true, force: true })
  renameSync(from, to)
}

async function readMember(path: string, name: string): Promise<Member[]> {
  try {
    return [{ name, content: await readFile(path) }]
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw new AppError('preflight', `cannot read "${path}": ${messageOf(error)}`, {
      hint: 'a file that exists belongs into the bundle',
      cause: error,
    })
  }
}

/** Links are followed: what the service serves with is what is kept. */
async function tlsMembers(folder: string, prefix: string, above: readonly string[] = []): Promise<Member[]> {
  const target = await realpath(folder).catch(() => folder)
  if (above.includes(target))
    throw new AppError('preflight', `the link "${folder}" leads back to a folder above it`, { hint: 'remove the link' })
  const names = await readdir(folder).catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw error
  })
  const members: Member[] = []
  for (const name of names.sort()) {
    const path = join(folder, name)
    if (await isFolder(path)) members.push(...(await tlsMembers(path, `${prefix}${name}/`, [...above, target])))
    else members.push(...(await readMember(path, prefix + name)))
  }
  return members
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isDirectory(),
    (error) => {
      throw new AppError('preflight', `cannot read "${path}": ${messageOf(error)}`, {
        hint: 'a file that exists belongs into the bundle',
        cause: error,
      })
    },
  )
}

async function readOptional(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw new AppError('preflight', `cannot read "${path}": ${messageOf(error)}`, { cause: error })
  })
}

function mergedSecrets(fromBundle: string | undefined, present: string | undefined): string | undefined {
  if (fromBundle === undefined) return undefined
  const values = parseEnvFile(fromBundle, 'secrets.env of the bundle')
  const own = parseEnvFile(present ?? '', 'secrets.env')
  for (const name of hostBoundSecretNames) {
    values.delete(name)
    const value = own.get(name)
    if (value !== undefined) values.set(name, value)
  }
  return formatEnvFile(values, 'secrets of CertAutopilot: restored; keep this file 0600')
}

function mergedConfig(fromBundle: string | undefined, present: string | undefined): string | undefined {
  if (fromBundle === undefined) return undefined
  const document = parseDocument(fromBundle)
  const own = parseDocument(present ?? '')
  for (const key of Object.keys(settings) as SettingKey[]) {
    if (!settings[key].isHostBound) continue
    const path = key.split('.')
    if (document.hasIn(path)) document.deleteIn(path)
    if (own.hasIn(path)) document.setIn(path, own.getIn(path))
  }
  for (const section of document.contents === null
    ? []
    : [...new Set(Object.keys(settings).map((key) => key.split('.')[0] as string))]) {
    const node = document.get(section) as { items?: unknown[] } | undefined
    if (node?.items?.length === 0) document.delete(section)
  }
  return document.toString()
}
