import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rm, stat, unlink } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import { formatCount } from '../../core/units.ts'
import type { BundleState, Catalogue, CatalogueEntry, Draft, Sidecar } from '../catalogue.ts'
import { FileDraft, readHandle } from './draft.ts'
import { publishFile, readJson, syncDirectory } from './files.ts'
import type { Changing } from './locks.ts'

const bundlePattern = /^certautopilot-backup-\d{8}-\d{6}\.tar\.(age|gz)(\.damaged)?$/
const recentDraftMs = 24 * 3600 * 1000

/** @param changing lets one process at a time change what is known of bundles */
export function openCatalogue(directory: string, changing: Changing): Catalogue {
  return new FolderCatalogue(directory, changing)
}

class FolderCatalogue implements Catalogue {
  readonly directory: string
  readonly #changing: Changing

  constructor(directory: string, changing: Changing) {
    this.directory = directory
    this.#changing = changing
  }

  async startDraft(): Promise<Draft> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    await this.#removeOldDrafts()
    const path = join(this.directory, `.draft-${randomUUID()}`)
    return new FileDraft(path, this.directory, await open(path, 'wx+', 0o600))
  }

  async list(): Promise<CatalogueEntry[]> {
    const names = (await namesIn(this.directory)).filter((name) => bundlePattern.test(name))
    const entries = await Promise.all(names.map((name) => this.#entry(name)))
    return entries.sort((a, b) => Number(a.isDamaged) - Number(b.isDamaged) || (a.name < b.name ? 1 : -1))
  }

  async open(nameOrPath: string) {
    const path = nameOrPath.includes('/') ? resolve(nameOrPath) : await this.#find(nameOrPath)
    const found = await stat(path).catch(() => undefined)
    if (found === undefined)
      throw new AppError('not-found', `there is no bundle "${nameOrPath}"`, {
        hint: '"certautopilot backup list" shows the ones in the backup folder; elsewhere give a path',
      })
    if (!found.isFile()) throw new AppError('usage', `"${nameOrPath}" is no bundle: it is no file`)
    const { size } = found
    return { name: basename(path), bytes: size, sidecar: await readSidecar(path), read: () => readFileOf(path) }
  }

  async addState(name: string, state: (before: BundleState) => BundleState): Promise<void> {
    const path = join(this.directory, `${name}.state.json`)
    await this.#changing(async () => {
      const before = (await readJson<BundleState>(path)) ?? {}
      await publishFile(path, JSON.stringify({ ...before, ...state(before) }, null, 2))
    })
  }

  async remove(name: string): Promise<void> {
    const path = join(this.directory, name)
    await unlink(path)
    await syncDirectory(this.directory)
    const beside = name.endsWith('.damaged') ? ['.json'] : ['.manifest.json']
    for (const suffix of [...beside, '.state.json']) await rm(path + suffix, { force: true })
  }

  async #find(name: string): Promise<string> {
    const inFolder = join(this.directory, name)
    const isThere = await stat(inFolder).then(
      () => true,
      () => false,
    )
    return isThere ? inFolder : resolve(name)
  }

  async #entry(name: string): Promise<CatalogueEntry> {
    const path = join(this.directory, name)
    const { size, mtime } = await stat(path)
    const known = (await readJson<BundleState>(`${path}.state.json`)) ?? {}
    const sidecar = await readSidecar(path)
    const state = { ...known, ...lengthFailure(size, sidecar, mtime) }
    return { name, bytes: size, sidecar, state, isDamaged: name.endsWith('.damaged') }
  }

  /** What a killed run left behind. */
  async #removeOldDrafts(): Promise<void> {
    for (const name of await namesIn(this.directory)) {
      const path = join(this.directory, name)
      if (!/^\.(draft|spool|new)-/.test(name)) continue
      // Another process may give it its name at this moment.
      const found = await stat(path).catch(() => undefined)
      if (found !== undefined && Date.now() - found.mtimeMs > recentDraftMs) await rm(path, { force: true })
    }
  }
}

/** What was cut short since it was verified counts as failed, whoever looks. */
function lengthFailure(bytes: number, sidecar: Sidecar | undefined, changedAt: Date): Pick<BundleState, 'failed_at' | 'failure'> {
  if (sidecar === undefined || sidecar.artefact.bytes === bytes) return {}
  const failure = `it has ${formatCount(bytes)} bytes, its manifest says ${formatCount(sidecar.artefact.bytes)}`
  return { failed_at: changedAt.toISOString(), failure }
}

async function* readFileOf(path: string): AsyncGenerator<Buffer> {
  await using handle = await open(path, 'r')
  yield* readHandle(handle)
}

async function readSidecar(path: string): Promise<Sidecar | undefined> {
  return readJson<Sidecar>(`${path}.manifest.json`)
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw new AppError('unreachable', `the backup folder "${directory}" cannot be read: ${messageOf(error)}`, {
      hint: 'look at backup.directory in config.yaml, and at the owner and the mode of the folder',
      cause: error,
    })
  })
}
