import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MongoClient } from 'mongodb'
import { SocketClient } from '../src/backup/host/socket-client.ts'
import type { BackupParts } from '../src/backup/parts.ts'
import { type Paths, pathsIn } from '../src/config/paths.ts'
import { collections, openHost } from '../src/host.ts'
import type { Store } from '../src/store/store.ts'

const mainScript = fileURLToPath(new URL('../src/main.ts', import.meta.url))
export const ownerPassword = 'correct horse battery staple'

export interface Run {
  exitCode: number
  stdout: string
  stderr: string
  /** The last JSON line, when `--json` was given. */
  json: Record<string, unknown>
}

/** An installation in a temporary folder, used through its real command line. */
export class TestHost implements AsyncDisposable {
  readonly home: string
  readonly paths: Paths
  readonly #root: string
  readonly #environment: Record<string, string>
  readonly #children = new Set<ChildProcess>()
  #service: ChildProcess | undefined

  constructor(root: string, environment: Record<string, string>) {
    this.#root = root
    this.home = join(root, 'cap')
    this.paths = pathsIn(this.home)
    this.#environment = {
      CERTAUTOPILOT_HOME: this.home,
      CERTAUTOPILOT_SERVER_PORT: '0',
      CERTAUTOPILOT_LOGGING_LEVEL: 'error',
      CERTAUTOPILOT_BACKUP_SCHEDULE: 'off',
      CERTAUTOPILOT_BACKUP_AFTER_NEW_KEYS: '0',
      ...environment,
    }
  }

  async cli(...words: string[]): Promise<Run> {
    return this.cliWith({}, ...words)
  }

  async cliWith(environment: Record<string, string>, ...words: string[]): Promise<Run> {
    const child = this.spawn(words, environment)
    const output = { stdout: '', stderr: '' }
    child.stdout?.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()))
    const [exitCode] = (await once(child, 'close')) as [number]
    const lastLine = output.stdout.trim().split('\n').at(-1) ?? ''
    return { exitCode, ...output, json: words.includes('--json') ? (JSON.parse(lastLine) as Record<string, unknown>) : {} }
  }

  /** Runs a command that has to succeed. */
  async ok(...words: string[]): Promise<Run> {
    const run = await this.cli(...words)
    assert.equal(run.exitCode, 0, `${words.join(' ')}: ${run.stderr}${run.stdout}`)
    return run
  }

  /** @param under a program that runs the command, with its own words before it */
  spawn(words: string[], environment: Record<string, string> = {}, under: readonly string[] = []): ChildProcess {
    const env = { PATH: process.env.PATH ?? '', ...this.#environment, ...environment }
    const [program, ...rest] = [...under, process.execPath, mainScript, ...words] as [string, ...string[]]
    const child = spawn(program, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  async start(): Promise<SocketClient> {
    const child = this.spawn(['serve'])
    this.#service = child
    let errors = ''
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    child.stdout?.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const client = new SocketClient(this.paths.adminSocket)
    for (const deadline = Date.now() + 30_000; ; ) {
      if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}: ${errors}`)
      const isReady = await client.request('GET', '/readyz').then(
        () => true,
        () => false,
      )
      if (isReady) return client
      if (Date.now() > deadline) throw new Error(`the service is not ready: ${errors}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
    const child = this.#service
    this.#service = undefined
    if (child === undefined || child.exitCode !== null) return child?.exitCode ?? null
    const exited = once(child, 'exit')
    child.kill(signal)
    return ((await exited) as [number | null])[0]
  }

  /** Sets up, starts, and makes an owner, a project, a CA and some certificates with keys. */
  async furnish(certificates = 2): Promise<SocketClient> {
    await this.ok('setup')
    const api = await this.start()
    const owner = await this.cliWith({ CERTAUTOPILOT_PASSWORD: ownerPassword }, 'user', 'setup', 'owner@example.org')
    assert.equal(owner.exitCode, 0, owner.stderr)
    await api.request('POST', '/api/v1/projects', { name: 'default' })
    await api.request('POST', '/api/v1/cas', { name: 'Internal' })
    for (let n = 0; n < certificates; n++)
      await api.request('POST', '/api/v1/certificates', { project: 'default', names: [`c${n}.example.org`] })
    return api
  }

  async backup(): Promise<string> {
    const run = await this.ok('backup', 'create', '--json')
    return String(run.json.bundle)
  }

  async bundles(): Promise<string[]> {
    const names = await readdir(this.paths.backups).catch(() => [])
    return names.filter((name) => /\.tar\.(age|gz)$/.test(name)).sort()
  }

  /** The database as a store, for looking and for doing damage. The service should be stopped. */
  async withStore<T>(use: (store: Store) => Promise<T>): Promise<T> {
    return this.withParts((_parts, store) => use(store))
  }

  /** What commands about backups work with, for calling one part of them. */
  async withParts<T>(use: (parts: BackupParts, store: Store) => Promise<T>): Promise<T> {
    const { backup } = openHost({ ...this.#environment })
    const store = await backup.openStore()
    try {
      await store.prepare(collections)
      return await use(backup, store)
    } finally {
      await store.close()
    }
  }

  /** The database, and everything that is on this host but the bundles and the recovery kit. */
  async destroy(): Promise<void> {
    const uri = this.#environment.CERTAUTOPILOT_DATABASE_URI
    if (uri !== undefined) {
      const client = await MongoClient.connect(uri)
      await client.db(this.#environment.CERTAUTOPILOT_DATABASE_NAME).dropDatabase()
      await client.close()
    }
    for (const name of await readdir(this.home)) if (name !== 'backups') await rm(join(this.home, name), { recursive: true })
  }

  async read(path: string): Promise<string> {
    return readFile(path, 'utf8')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exits = [...this.#children].map((child) => once(child, 'exit'))
    for (const child of this.#children) child.kill('SIGKILL')
    await Promise.all(exits)
    await rm(this.#root, { recursive: true, force: true })
  }
}

export async function newHost(environment: Record<string, string> = {}): Promise<TestHost> {
  return new TestHost(await mkdtemp(join(tmpdir(), 'certautopilot-test-')), environment)
}

/** Starts one more process of the service. */
export function startProcess(host: TestHost, mode: string): ChildProcess {
  const child = host.spawn(['serve', '--mode', mode])
  child.stdout?.resume()
  child.stderr?.resume()
  return child
}

/** @returns how long it took, in ms */
export async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<number> {
  const started = performance.now()
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }
  return performance.now() - started
}

export async function until(isSo: () => Promise<boolean>, what: string, waitMs = 60_000): Promise<void> {
  for (const deadline = Date.now() + waitMs; !(await isSo()); await new Promise((resolve) => setTimeout(resolve, 100)))
    assert.ok(Date.now() < deadline, `${what}: not within ${waitMs / 1000} s`)
}

/** The settings of a database of its own on a server. */
export function mongoEnvironment(uri: string): Record<string, string> {
  return { CERTAUTOPILOT_DATABASE_URI: uri, CERTAUTOPILOT_DATABASE_NAME: `cap-${randomUUID().slice(0, 8)}` }
}
