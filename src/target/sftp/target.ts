import { randomUUID } from 'node:crypto'
import type { ConnectConfig, FileEntryWithStats, SFTPWrapper } from 'ssh2'
import { AppError, messageOf } from '../../core/app-error.ts'
import { grouped } from '../../core/chunks.ts'
import { type Content, isAbandoned, type Target, type TargetLocation, type TargetSecrets, uploadPrefix } from '../target.ts'
import { type Connection, connect, connectConfig } from './connect.ts'

const writeBytes = 128 * 1024
const writesAtOnce = 8
/** As much as OpenSSH gives in one answer. */
const readBytes = 255 * 1024
/** A connection without work is closed after this long; the next operation makes a new one. */
const idleMs = 200
/** SFTP status codes (draft-ietf-secsh-filexfer-02, 7). */
const noSuchFile = 2
const permissionDenied = 3

/** A folder on an SSH server whose host key is pinned: `sftp://USER@HOST/FOLDER?host_key=SHA256:...`. The folder has to be there. */
export function openSftpTarget(location: TargetLocation, secrets: TargetSecrets): Target {
  return new SftpTarget(location, secrets)
}

class SftpTarget implements Target {
  readonly name: string
  readonly place: string
  readonly #folder: string
  readonly #config: ConnectConfig
  #connection: Promise<Connection> | undefined
  #busy = 0
  #idle: NodeJS.Timeout | undefined

  constructor({ name, url, silenceMs }: TargetLocation, secrets: TargetSecrets) {
    this.name = name
    this.#folder = decodeURIComponent(url.pathname).replace(/\/+$/, '') || '.'
    this.place = `sftp://${url.host}${this.#folder}`
    this.#config = connectConfig(url, silenceMs, secrets)
  }

  put(name: string, { headBytes, head, body, signal }: Content): Promise<void> {
    return this.#with(async (sftp) => {
      const temporary = this.#path(uploadPrefix + randomUUID())
      await this.#removeAbandoned(sftp)
      try {
        const handle = await called<Buffer>((done) => sftp.open(temporary, 'wx', { mode: 0o600 }, done))
        const write = (chunk: Buffer, position: number) =>
          called((done) => sftp.write(handle, chunk, 0, chunk.length, position, done))
        await writeAhead(body, headBytes, write)
        await write(await head, 0)
        await called((done) => sftp.close(handle, done))
        signal?.throwIfAborted()
        await rename(sftp, temporary, this.#path(name))
      } catch (error) {
        await called((done) => sftp.unlink(temporary, done)).catch(() => {})
        throw error
      }
    })
  }

  list(): Promise<{ name: string; bytes: number }[]> {
    return this.#with(async (sftp) => {
      const entries = await called<FileEntryWithStats[]>((done) => sftp.readdir(this.#folder, done))
      return entries
        .filter(({ filename }) => !filename.startsWith('.'))
        .map(({ filename, attrs }) => ({ name: filename, bytes: attrs.size }))
    })
  }

  async *open(name: string): AsyncGenerator<Buffer> {
    const { sftp, lost } = await this.#begin()
    const stream = sftp.createReadStream(this.#path(name), { highWaterMark: readBytes })
    try {
      yield* untilLost(stream, lost)
    } catch (error) {
      throw this.#failure(error, name)
    } finally {
      stream.destroy()
      this.#end()
    }
  }

  remove(name: string): Promise<void> {
    return this.#with(async (sftp) => {
      await called((done) => sftp.unlink(this.#path(name), done)).catch((error) => {
        if (statusOf(error) !== noSuchFile) throw error
      })
    })
  }

  async #removeAbandoned(sftp: SFTPWrapper): Promise<void> {
    const entries = await called<FileEntryWithStats[]>((done) => sftp.readdir(this.#folder, done))
    for (const { filename } of entries.filter((entry) => isAbandoned(entry.filename, entry.attrs.mtime * 1000)))
      await called((done) => sftp.unlink(this.#path(filename), done)).catch(() => {})
  }

  #path(name: string): string {
    return `${this.#folder}/${name}`
  }

  async #with<T>(use: (sftp: SFTPWrapper) => Promise<T>): Promise<T> {
    const { sftp, lost } = await this.#begin()
    try {
      return await Promise.race([use(sftp), lost])
    } catch (error) {
      throw this.#failure(error)
    } finally {
      this.#end()
    }
  }

  async #begin(): Promise<Connection> {
    clearTimeout(this.#idle)
    this.#busy++
    const connection = this.#connection ?? connect(this.#config)
    this.#connection = connection
    const forget = () => {
      if (this.#connection === connection) this.#connection = undefined
    }
    try {
      const made = await connection
      made.lost.catch(forget)
      return made
    } catch (error) {
      forget()
      this.#busy--
      throw this.#failure(error)
    }
  }

  #end(): void {
    this.#busy--
    if (this.#busy > 0) return
    this.#idle = setTimeout(() => {
      const closing = this.#connection
      this.#connection = undefined
      void closing?.then(({ client }) => client.end())
    }, idleMs)
  }

  #failure(error: unknown, name = ''): unknown {
    if (error instanceof AppError) return error
    const where = `target "${this.name}" (${this.place})`
    const status = statusOf(error)
    if (status === noSuchFile && name !== '')
      return new AppError('not-found', `there is no "${name}" at ${where}`, { cause: error })
    if (status === permissionDenied)
      return new AppError('forbidden', `${where} refuses this: ${messageOf(error)}`, { cause: error })
    const isKey = /host denied|verification failed/i.test(messageOf(error))
    return new AppError('unreachable', `${where}: ${isKey ? 'its host key is not the one that is pinned' : messageOf(error)}`, {
      hint: isKey
        ? 'compare it on the server itself with "ssh-keygen -lf"; somebody may stand between'
        : 'look at the address, at USER and PRIVATE_KEY_FILE or PASSWORD of the target in targets.env, and whether the folder is there',
      cause: error,
    })
  }
}

/** A read that is asked for when the connection has ended is never answered: what waits for it fails with the connection. */
async function* untilLost(source: AsyncIterable<Buffer>, lost: Promise<never>): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]()
  let isLost = false
  let fail: (error: unknown) => void = () => {}
  lost.catch((error) => {
    isLost = true
    fail(error)
  })
  for (;;) {
    // A race with "lost" itself would keep every chunk in memory for as long as the connection lasts.
    const { done, value } = await new Promise<IteratorResult<Buffer>>((resolve, reject) => {
      fail = reject
      chunks.next().then(resolve, reject)
      if (isLost) lost.catch(reject)
    })
    if (done) return
    yield value
  }
}

/** Writes one chunk behind the other, several under way at once, so that a way with a long echo is filled. */
async function writeAhead(
  source: AsyncIterable<Buffer>,
  start: number,
  write: (chunk: Buffer, position: number) => Promise<void>,
): Promise<void> {
  const underWay: Promise<void>[] = []
  let position = start
  for await (const chunk of grouped(source, writeBytes)) {
    const writing = write(chunk, position)
    writing.catch(() => {})
    underWay.push(writing)
    position += chunk.length
    if (underWay.length === writesAtOnce) await underWay.shift()
  }
  await Promise.all(underWay)
}

/** Over what is there, where the server can (OpenSSH); the plain rename of SFTP refuses that. */
async function rename(sftp: SFTPWrapper, from: string, to: string): Promise<void> {
  await called((done) => sftp.ext_openssh_rename(from, to, done)).catch(async (error) => {
    if (!/not supported|does not support/i.test(messageOf(error))) throw error
    await called((done) => sftp.rename(from, to, done))
  })
}

function called<T = void>(call: (done: (error: Error | null | undefined, result?: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error) : resolve(result as T)))
  })
}

function statusOf(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { code?: unknown }
  return typeof code === 'number' ? code : undefined
}
