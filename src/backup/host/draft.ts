import { createHash } from 'node:crypto'
import { type FileHandle, open, rename, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, systemCodeOf } from '../../core/app-error.ts'
import { grouped } from '../../core/chunks.ts'
import { release } from '../../core/release.ts'
import { writeWhole } from '../../core/write-whole.ts'
import type { BundleState, Draft, GrowingFile, Sidecar, WrittenFile } from '../catalogue.ts'
import { publishFile, syncDirectory } from './files.ts'

const readBytes = 256 * 1024

/** A bundle that is being written under a hidden name. */
export class FileDraft implements Draft {
  readonly #path: string
  readonly #directory: string
  readonly #handle: FileHandle
  readonly #parts: WrittenPart[] = []
  #grown = Promise.withResolvers<void>()
  #isPlaced = false
  #isClosed = false

  constructor(path: string, directory: string, handle: FileHandle) {
    this.#path = path
    this.#directory = directory
    this.#handle = handle
  }

  async write(source: AsyncIterable<Buffer>, position: number): Promise<void> {
    const part: WrittenPart = { position, bytes: 0, sha256: '' }
    this.#parts.push(part)
    const grow = (bytes: number) => {
      part.bytes = bytes
      this.#tellFollowers()
    }
    part.sha256 = await writeAll(this.#handle, source, position, grow).catch((error) => {
      if (systemCodeOf(error) !== 'ENOSPC') throw error
      throw diskFull(this.#directory, error)
    })
    this.#tellFollowers()
  }

  async follow(position: number): Promise<GrowingFile> {
    const handle = await open(this.#path, 'r')
    return { bytes: this.#grownFrom(handle, position), [Symbol.asyncDispose]: () => handle.close() }
  }

  async *#grownFrom(handle: FileHandle, start: number): AsyncGenerator<Buffer> {
    for (let done = 0; ; ) {
      const grown = this.#grown.promise
      const part = this.#parts.find(({ position }) => position === start)
      const { bytes = 0, sha256 = '' } = part ?? {}
      const isOver = this.#isClosed
      yield* readHandle(handle, start + done, bytes - done)
      done = bytes
      if (sha256 !== '') return
      if (isOver) throw new AppError('failed', 'the bundle that was followed was given up')
      await grown
    }
  }

  #tellFollowers(): void {
    this.#grown.resolve()
    this.#grown = Promise.withResolvers()
  }

  async finish(): Promise<WrittenFile> {
    const syncing = this.#handle.sync()
    syncing.catch(() => {})
    const whole = createHash('sha256')
    let end = 0
    for (const { position, bytes, sha256 } of this.#parts.toSorted((a, b) => a.position - b.position)) {
      const part = createHash('sha256')
      for await (const chunk of readHandle(this.#handle, position, bytes)) {
        part.update(chunk)
        whole.update(chunk)
        release(chunk)
      }
      if (position !== end || part.digest('hex') !== sha256) throw notWhatWasWritten(this.#directory)
      end += bytes
    }
    await syncing
    return { bytes: end, sha256: whole.digest('hex') }
  }

  async publish(name: string, sidecar: Sidecar, state: BundleState): Promise<void> {
    const beside = { '.state.json': state, '.manifest.json': sidecar }
    const path = (suffix: string) => join(this.#directory, name + suffix)
    try {
      for (const [suffix, content] of Object.entries(beside)) await publishFile(path(suffix), JSON.stringify(content, null, 2))
      await this.#place(name)
    } catch (error) {
      if (!this.#isPlaced) for (const suffix of Object.keys(beside)) await rm(path(suffix), { force: true })
      throw error
    }
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
    this.#isClosed = true
    this.#tellFollowers()
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

/** One write is under way while the next chunk is made. @returns the SHA-256 of everything */
async function writeAll(
  handle: FileHandle,
  source: AsyncIterable<Buffer>,
  start: number,
  grow: (bytes: number) => void,
): Promise<string> {
  const hash = createHash('sha256')
  let bytes = 0
  let writing: Promise<unknown> = Promise.resolve()
  // Each write is worth its system call. A group is a copy, so nobody else looks at it when it is released.
  for await (const chunk of grouped(source, readBytes)) {
    await writing
    grow(bytes)
    writing = writeWhole(handle, chunk, start + bytes).then(() => release(chunk))
    writing.catch(() => {})
    hash.update(chunk)
    bytes += chunk.length
  }
  await writing
  grow(bytes)
  return hash.digest('hex')
}

/** The next read is under way while a chunk is used. */
export async function* readHandle(handle: FileHandle, start = 0, size = Number.POSITIVE_INFINITY): AsyncGenerator<Buffer> {
  let position = start
  const readOne = () => {
    const bytes = Math.max(0, Math.min(readBytes, start + size - position))
    const reading = handle.read(Buffer.allocUnsafe(bytes), 0, bytes, position)
    // It may fail when nobody waits for it any more.
    reading.catch(() => {})
    return reading
  }
  for (let next = readOne(); ; ) {
    const { bytesRead, buffer } = await next
    if (bytesRead === 0) return
    position += bytesRead
    next = readOne()
    yield buffer.subarray(0, bytesRead)
  }
}
