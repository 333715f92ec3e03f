import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Client, type ConnectConfig, type FileEntryWithStats, type SFTPWrapper } from 'ssh2'
import { AppError, messageOf } from '../../core/app-error.ts'
import { once } from '../../core/chunks.ts'
import { sleep } from '../../core/clock.ts'
import { type Content, isAbandoned, type Target, type TargetLocation, type TargetSecrets, uploadPrefix } from '../target.ts'

/** So many questions within the time that the other side may be silent. */
const keepAlives = 4
const maxAttempts = 3
const retryMs = 500
/** What waits meanwhile is sent in one go, so that a way with a long echo is filled. */
const aheadBytes = 1024 * 1024
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
  #connection: Promise<{ client: Client; sftp: SFTPWrapper }> | undefined
  #busy = 0
  #idle: NodeJS.Timeout | undefined

  constructor({ name, url, silenceMs }: TargetLocation, secrets: TargetSecrets) {
    this.name = name
    this.#folder = decodeURIComponent(url.pathname).replace(/\/+$/, '') || '.'
    this.place = `sftp://${url.host}${this.#folder}`
    this.#config = connectConfig(url, silenceMs, secrets)
  }

  put(name: string, { headBytes, head, body }: Content): Promise<void> {
    return this.#with(async (sftp) => {
      const temporary = this.#path(uploadPrefix + randomUUID())
      try {
        await this.#removeAbandoned(sftp)
        const write = (bytes: AsyncIterable<Buffer>, flags: 'wx' | 'r+', start: number) =>
          pipeline(
            Readable.from(bytes, { objectMode: false }),
            sftp.createWriteStream(temporary, { mode: 0o600, flags, start, highWaterMark: aheadBytes }),
          )
        await write(body, 'wx', headBytes)
        if (headBytes > 0) await write(once(await head), 'r+', 0)
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
    const sftp = await this.#begin()
    try {
      yield* sftp.createReadStream(this.#path(name), { highWaterMark: readBytes }) as AsyncIterable<Buffer>
    } catch (error) {
      throw this.#failure(error, name)
    } finally {
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
    const sftp = await this.#begin()
    try {
      return await use(sftp)
    } catch (error) {
      throw this.#failure(error)
    } finally {
      this.#end()
    }
  }

  async #begin(): Promise<SFTPWrapper> {
    clearTimeout(this.#idle)
    this.#busy++
    this.#connection ??= connectPatiently(this.#config)
    try {
      return (await this.#connection).sftp
    } catch (error) {
      this.#connection = undefined
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

function connectConfig(url: URL, silenceMs: number, secrets: TargetSecrets): ConnectConfig {
  const pinned = Buffer.from((url.searchParams.get('host_key') ?? '').replace(/^SHA256:/, '').replaceAll(' ', '+'), 'base64')
  const keyFile = secrets('PRIVATE_KEY_FILE')
  const [key, password, passphrase] = [secrets('PRIVATE_KEY'), secrets('PASSWORD'), secrets('PASSPHRASE')]
  return {
    host: url.hostname,
    port: url.port === '' ? 22 : Number(url.port),
    username: decodeURIComponent(url.username),
    readyTimeout: silenceMs,
    keepaliveInterval: silenceMs / keepAlives,
    keepaliveCountMax: keepAlives - 1,
    hostVerifier: (given: Buffer) => {
      const digest = createHash('sha256').update(given).digest()
      return digest.length === pinned.length && timingSafeEqual(digest, pinned)
    },
    ...(keyFile === undefined ? {} : { privateKey: readFileSync(keyFile) }),
    ...(key === undefined ? {} : { privateKey: key }),
    ...(password === undefined ? {} : { password }),
    ...(passphrase === undefined ? {} : { passphrase }),
  }
}

/** A server that does not answer is asked again; one that refuses the key, or has another one, is not. */
async function connectPatiently(config: ConnectConfig): Promise<{ client: Client; sftp: SFTPWrapper }> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connect(config)
    } catch (error) {
      const isNetwork = /ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|closed|Timed out/i.test(messageOf(error))
      if (!isNetwork || attempt === maxAttempts) throw error
      await sleep(retryMs * 2 ** attempt)
    }
  }
}

function connect(config: ConnectConfig): Promise<{ client: Client; sftp: SFTPWrapper }> {
  const client = new Client()
  return new Promise((resolve, reject) => {
    client.on('error', reject)
    client.once('close', () => reject(new Error('the connection was closed')))
    client.once('ready', () => client.sftp((error, sftp) => (error === undefined ? resolve({ client, sftp }) : reject(error))))
    client.connect(config)
    // Every write waits for the answer to the one before: without this the kernel holds back the end of each, for 40 ms.
    client.setNoDelay(true)
  })
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
