import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '../../core/app-error.ts'
import { writeWhole } from '../../core/write-whole.ts'
import { type Content, isAbandoned, type Target, type TargetLocation, uploadPrefix } from '../target.ts'

const readBytes = 256 * 1024

/** By the code of the system call. */
const problems: Readonly<Record<string, string>> = {
  ENOENT: 'the folder is not there (ENOENT): is it mounted?',
  ENOSPC: 'its disk is full (ENOSPC)',
}

/** A folder on another disk, a mount mostly. It is never made: a mount that is missing must not be mistaken for an empty one. */
export function openDiskTarget({ name, url }: TargetLocation): Target {
  return new DiskTarget(name, decodeURIComponent(url.pathname))
}

class DiskTarget implements Target {
  readonly name: string
  readonly place: string

  constructor(name: string, folder: string) {
    this.name = name
    this.place = folder
  }

  async put(name: string, content: Content): Promise<void> {
    const temporary = join(this.place, uploadPrefix + randomUUID())
    try {
      await this.#removeAbandoned()
      await this.#write(temporary, content)
      content.signal?.throwIfAborted()
      await rename(temporary, join(this.place, name))
      await using folder = await open(this.place, 'r')
      await folder.sync()
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw this.#failure(error)
    }
  }

  async list(): Promise<{ name: string; bytes: number }[]> {
    try {
      const names = (await readdir(this.place)).filter((name) => !name.startsWith('.'))
      return await Promise.all(names.map(async (name) => ({ name, bytes: (await stat(join(this.place, name))).size })))
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async *open(name: string): AsyncGenerator<Buffer> {
    const path = join(this.place, name)
    await stat(path).catch((error) => {
      if (systemCodeOf(error) !== 'ENOENT') throw this.#failure(error)
      throw new AppError('not-found', `there is no "${name}" at target "${this.name}"`)
    })
    try {
      yield* createReadStream(path, { highWaterMark: readBytes }) as AsyncIterable<Buffer>
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.place, name), { force: true }).catch((error) => {
      throw ['EACCES', 'EPERM'].includes(systemCodeOf(error) ?? '')
        ? new AppError('forbidden', `"${name}" at target "${this.name}" cannot be removed: ${messageOf(error)}`, { cause: error })
        : this.#failure(error)
    })
  }

  async #removeAbandoned(): Promise<void> {
    for (const name of (await readdir(this.place)).filter((found) => found.startsWith(uploadPrefix))) {
      const path = join(this.place, name)
      const found = await stat(path).catch(() => undefined)
      // What belongs to somebody else may not go.
      if (found !== undefined && isAbandoned(name, found.mtimeMs)) await rm(path, { force: true }).catch(() => {})
    }
  }

  async #write(path: string, { headBytes, head, body }: Content): Promise<void> {
    await using file = await open(path, 'wx', 0o600)
    let position = headBytes
    for await (const chunk of body) {
      await writeWhole(file, chunk, position)
      position += chunk.length
    }
    await writeWhole(file, await head, 0)
    await file.sync()
  }

  #failure(error: unknown): unknown {
    if (error instanceof AppError || systemCodeOf(error) === undefined) return error
    const { [systemCodeOf(error) ?? '']: problem = messageOf(error) } = problems
    return new AppError('unreachable', `target "${this.name}" (${this.place}): ${problem}`, {
      hint: 'look at its owner, its mode and its free space',
      cause: error,
    })
  }
}
