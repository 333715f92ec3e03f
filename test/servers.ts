import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Programs that `tools/test-servers` found or installed. */
type Program =
  | 'SECANTUSD'
  | 'PEBBLE'
  | 'NAMED'
  | 'MINIO'
  | 'SSHD'
  | 'AZURITE'
  | 'CHROMIUM'
  | 'AGE'
  | 'FAKETIME'
  | 'OPENSSL'
  | 'UNSHARE'
  | 'STRACE'
  | 'MONGOD'
  | 'MONGODUMP'
  | 'MONGORESTORE'
  | 'BSONDUMP'

const listPath = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'certautopilot', 'test-servers', 'servers.env')
const installed = existsSync(listPath) ? readFileSync(listPath, 'utf8') : ''

export function findProgram(program: Program): string | undefined {
  return process.env[program] || installed.match(new RegExp(`^${program}=(.+)$`, 'm'))?.[1]
}

/** The `skip` option of a test that needs a program: the reason, when it is missing. */
export function needs(...programs: Program[]): { skip: string | false } {
  const missing = programs.find((program) => findProgram(program) === undefined)
  return { skip: missing !== undefined && `needs ${missing}, which tools/test-servers could not provide` }
}

export interface MongoServer extends AsyncDisposable {
  readonly uri: string
  readonly port: number
  readonly process: ChildProcess
}

/** Starts a server of the MongoDB protocol on a free port, with a data folder that goes with it. */
export async function startMongo(options: { flags?: string[]; storagePath?: string } = {}): Promise<MongoServer> {
  const storage = options.storagePath ?? (await mkdtemp(join(tmpdir(), 'certautopilot-mongo-')))
  const flags = ['--port', '0', '--storage-path', storage, '--cache-size', '512M', ...(options.flags ?? [])]
  const child = spawn(findProgram('SECANTUSD') as string, flags, { stdio: ['ignore', 'pipe', 'pipe'] })
  const port = await announcedPort(child)
  return {
    uri: `mongodb://127.0.0.1:${port}/?directConnection=false`,
    port,
    process: child,
    async [Symbol.asyncDispose]() {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
      child.kill('SIGKILL')
      await exited
      if (options.storagePath === undefined) await rm(storage, { recursive: true, force: true })
    },
  }
}

function announcedPort(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let output = ''
    child.once('exit', (code) => reject(new Error(`the MongoDB server ended with ${code}: ${output}`)))
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue
      createInterface({ input: stream }).on('line', (line) => {
        output += `${line}\n`
        const port = line.match(/127\.0\.0\.1:(\d+)/)?.[1]
        if (port !== undefined) resolve(Number(port))
      })
    }
  })
}
