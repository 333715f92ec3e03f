import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { AppError, systemCodeOf } from '../../core/app-error.ts'
import type { BundleState, Catalogue, CatalogueEntry, Draft, Sidecar, WrittenFile } from '../catalogue.ts'
import { publishFile, syncDirectory } from './files.ts'

const bundlePattern = /^certautopilot-backup-\d{8}-\d{6}\.tar\.(age|gz)(\.damaged)?$/
/** A value that nobody has used for this long is not in force any more. */
const retainRecordMs = 8 * 24 * 3600 * 1000
const readBytes = 256 * 1024
const recentDraftMs = 24 * 3600 * 1000

export function openCatalogue(directory: string): Catalogue {
  return new FolderCatalogue(directory)
}

interface RetainRecord {
  days: number
  seen_at: string
}

class FolderCatalogue implements Catalogue {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
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
    const { size } = await stat(path).catch(() => {
      throw new AppError('not-found', `there is no bundle "${nameOrPath}"`, {
        hint: '"certautopilot backup list" shows the ones in the backup folder; elsewhere give a path',
      })
    })
    return { name: basename(path), bytes: size, sidecar: await readSidecar(path), read: () => readFileOf(path) }
  }

  async addState(name: string, state: BundleState): Promise<void> {
    const path = join(this.directory, `${name}.state.json`)
    await publishFile(path, JSON.stringify({ ...(await readJson<BundleState>(path)), ...state }, null, 2))
  }

  async remove(name: string): Promise<void> {
    const path = join(this.directory, name)
    await unlink(path)
    await syncDirectory(this.directory)
    const beside = name.endsWith('.damaged') ? ['.json'] : ['.manifest.json']
    for (const suffix of [...beside, '.state.json']) await rm(path + suffix, { force: true })
  }

  async agreeRetainDays(days: number): Promise<number> {
    const path = join(this.directory, 'retention.json')
    const known = (await readJson<RetainRecord[]>(path)) ?? []
    const oldest = Date.now() - retainRecordMs
    const others = known.filter((record) => record.days !== days && Date.parse(record.seen_at) > oldest)
    const records = [...others, { days, seen_at: new Date().toISOString() }]
    await publishFile(path, JSON.stringify(records))
    return Math.max(...records.map((record) => record.days))
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
    const { size } = await stat(path)
    const state = (await readJson<BundleState>(`${path}.state.json`)) ?? {}
    return { name, bytes: size, sidecar: await readSidecar(path), state, isDamaged: name.endsWith('.damaged') }
  }

  /** What a killed run left behind. */
  async #removeOldDrafts(): Promise<void> {
    for (const name of await namesIn(this.directory)) {
      const path = join(this.directory, name)
      if (!/^\.(draft|spool)-/.test(name)) continue
      const { mtimeMs } = await stat(path)
      if (Date.now() - mtimeMs > recentDraftMs) await unlink(path)
    }
  }
}

class FileDraft implements Draft {
  readonly #path: string
  readonly #directory: string
  readonly #handle: FileHandle
  readonly #parts: WrittenPart[] = []
  #isPlaced = false

  constructor(path: string, directory: string, handle: FileHandle) {
    this.#path = path
    this.#directory = directory
    this.#handle = handle
  }

  async write(source: AsyncIterable<Buffer>, position: number): Promise<void> {
    const written = await writeAll(this.#handle, source, position).catch((error) => {
      if (systemCodeOf(error) !== 'ENOSPC') throw error
      throw diskFull(this.#directory, error)
    })
    if (written.bytes > 0) this.#parts.push({ position, ...written })
  }

  async finish(): Promise<WrittenFile> {
    await this.#handle.sync()
    const whole = createHash('sha256')
    let end = 0
    for (const { position, bytes, sha256 } of this.#parts.toSorted((a, b) => a.position - b.position)) {
      const part = createHash('sha256')
      for await (const chunk of readHandle(this.#handle, position, bytes)) {
        part.update(chunk)
        whole.update(chunk)
      }
      if (position !== end || part.digest('hex') !== sha256) throw notWhatWasWritten(this.#directory)
      end += bytes
    }
    return { bytes: end, sha256: whole.digest('hex') }
  }

  async publish(name: string, sidecar: Sidecar): Promise<void> {
    await publishFile(join(this.#directory, `${name}.manifest.json`), JSON.stringify(sidecar, null, 2))
    await this.#place(name)
  }

  async keepDamaged(name: string, report: object): Promise<void> {
    await publishFile(join(this.#directory, `${name}.damaged.json`), JSON.stringify(report, null, 2))
    await this.#place(`${name}.damaged`)
  }

  async #place(name: string): Promise<void> {
    await rename(this.#path, join(this.#directory, name))
    this.#isPlaced = true
    await syncDirectory(this.#directory)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
    if (!this.#isPlaced) await unlink(this.#path)
  }
}

interface WrittenPart extends WrittenFile {
  position: number
}

function diskFull(directory: string, cause: unknown): AppError {
  return new AppError('failed', `the disk of "${directory}" is full (ENOSPC): no bundle was published`, {
    hint: 'make room there; "certautopilot backup prune --dry-run" shows what could go',
    cause,
  })
}

function notWhatWasWritten(directory: string): AppError {
  return new AppError('failed', `the bundle read back from "${directory}" is not what was written`, {
    hint: 'the disk or its file system is faulty',
  })
}

/** One write is under way while the next chunk is made. */
async function writeAll(handle: FileHandle, source: AsyncIterable<Buffer>, start: number): Promise<WrittenFile> {
  const hash = createHash('sha256')
  let bytes = 0
  let writing: Promise<unknown> = Promise.resolve()
  for await (const chunk of grouped(source)) {
    await writing
    writing = writeWhole(handle, chunk, start + bytes)
    writing.catch(() => {})
    hash.update(chunk)
    bytes += chunk.length
  }
  await writing
  return { bytes, sha256: hash.digest('hex') }
}

/** A disk that is nearly full takes a part of a write without an error; the next write tells. */
async function writeWhole(handle: FileHandle, chunk: Buffer, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done)
    done += bytesWritten
  }
}

/** Small chunks are joined, so that each write is worth its system call. */
async function* grouped(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let parts: Buffer[] = []
  let size = 0
  for await (const part of source) {
    parts.push(part)
    size += part.length
    if (size < readBytes) continue
    yield Buffer.concat(parts, size)
    parts = []
    size = 0
  }
  if (size > 0) yield Buffer.concat(parts, size)
}

async function* readHandle(handle: FileHandle, start = 0, size = Number.POSITIVE_INFINITY): AsyncGenerator<Buffer> {
  for (let position = start; position < start + size; ) {
    const { bytesRead, buffer } = await handle.read(
      Buffer.allocUnsafe(readBytes),
      0,
      Math.min(readBytes, start + size - position),
      position,
    )
    if (bytesRead === 0) return
    position += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

async function* readFileOf(path: string): AsyncGenerator<Buffer> {
  await using handle = await open(path, 'r')
  yield* readHandle(handle)
}

async function readSidecar(path: string): Promise<Sidecar | undefined> {
  return readJson<Sidecar>(`${path}.manifest.json`)
}

async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined
    throw error
  }
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw error
  })
}
