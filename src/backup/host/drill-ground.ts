import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathsIn } from '../../config/paths.ts'
import { AppError } from '../../core/app-error.ts'
import { sleep } from '../../core/clock.ts'
import type { StoreExchange } from '../../store/staging.ts'
import type { DrillReport } from '../drill-report.ts'
import type { DrillGround, DrillServer } from '../parts.ts'
import { openHostFiles } from './host-files.ts'
import { SocketClient } from './socket-client.ts'

export interface DrillGroundOptions {
  /** Folder that the scratch home is made in. */
  parent: string
  mainScript: string
  openExchange(databasePath: string): Promise<StoreExchange & AsyncDisposable>
}

const scratchPrefix = '.scratch-'
const bootTimeoutMs = 120_000
const stopTimeoutMs = 10_000

async function nobodyToAsk(): Promise<string> {
  throw new AppError('usage', 'a drill asks nobody for a passphrase')
}

export async function openDrillGround(options: DrillGroundOptions): Promise<DrillGround> {
  await mkdir(options.parent, { recursive: true, mode: 0o700 })
  await removeScratch(options.parent)
  const home = await mkdtemp(join(options.parent, scratchPrefix))
  const socketFolder = await mkdtemp(join(tmpdir(), 'cap-'))
  const paths = pathsIn(home)
  return {
    host: openHostFiles({ paths, identityFile: undefined, signingKey: undefined, askPassphrase: nobodyToAsk }),
    openExchange: () => options.openExchange(paths.database),
    boot: (signal) => boot(options.mainScript, home, join(socketFolder, 'drill.sock'), signal),
    async [Symbol.asyncDispose]() {
      await rm(home, { recursive: true, force: true })
      await rm(socketFolder, { recursive: true, force: true })
    },
  }
}

/** What a killed drill left: it holds keys. The lock of drills is held, so none of them is in use. */
async function removeScratch(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (name.startsWith(scratchPrefix)) await rm(join(parent, name), { recursive: true, force: true })
  }
}

async function boot(mainScript: string, home: string, socket: string, signal: AbortSignal): Promise<DrillServer> {
  const namespace = networkNamespace()
  const command = [
    ...namespace,
    process.execPath,
    ...process.execArgv,
    mainScript,
    'serve',
    '--profile',
    'drill',
    '--socket',
    socket,
  ]
  const child = spawn(command[0] as string, command.slice(1), {
    // Nothing of this process's environment reaches the drill: the bundle has to be enough.
    env: { CERTAUTOPILOT_HOME: home, PATH: '/usr/local/bin:/usr/bin:/bin' },
    cwd: home,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const client = new SocketClient(socket)
  try {
    await ready(child, client, signal)
  } catch (error) {
    await stop(child)
    throw error
  }
  const isolation: DrillReport['isolation'] = namespace.length > 0 ? 'network-namespace' : 'connection-guard'
  return {
    isolation,
    request: (method, path, body) => client.request(method, path, body),
    [Symbol.asyncDispose]: () => stop(child),
  }
}

/** The command that puts a program into a network namespace without any interface, where this host allows it. */
function networkNamespace(): string[] {
  const ways = [
    ['unshare', '--net', '--'],
    ['unshare', '--user', '--map-current-user', '--net', '--'],
  ]
  return ways.find((way) => spawnSync(way[0] as string, [...way.slice(1), 'true']).status === 0) ?? []
}

async function ready(child: ChildProcess, client: SocketClient, signal: AbortSignal): Promise<void> {
  let errors = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000)
  })
  const deadline = performance.now() + bootTimeoutMs
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new AppError('verification-failed', `the restored service did not start: ${errors.trim()}`)
    const answered = await client.request('GET', '/readyz').then(
      () => true,
      () => false,
    )
    if (answered) return
    signal.throwIfAborted()
    await sleep(50, signal)
  }
  throw new AppError('verification-failed', `the restored service was not ready within ${bootTimeoutMs / 1000} s: ${errors.trim()}`)
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
  await exited
  clearTimeout(timer)
}
