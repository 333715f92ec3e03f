import { chmod, mkdir, unlink, writeFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { dirname } from 'node:path'
import { newToken } from './access/access.ts'
import { isSetUp } from './access/setup.ts'
import { type App, type Log, newInstanceName, openApp } from './app.ts'
import { resumeRestore } from './backup/resume-restore.ts'
import { AppError, isAppError, messageOf, systemCodeOf } from './core/app-error.ts'
import { sleep } from './core/clock.ts'
import { type Host, openHost } from './host.ts'
import { listenForChallenges } from './http/challenge-listener.ts'
import { createHttpServer } from './http/server.ts'
import { startLife } from './life.ts'
import { runLoops, type ServeMode } from './loops.ts'
import { runLoopsThread } from './loops-thread.ts'
import { WriteGate } from './quiesce/write-gate.ts'

export interface ServeOptions {
  log: Log
  profile: 'normal' | 'drill'
  mode?: ServeMode | undefined
  /** Listen on this Unix socket instead of a port. */
  socket?: string | undefined
  /** Take the next free port when the configured one is busy. */
  mayMovePort?: boolean | undefined
  onReady?: ((started: { url: string; app: App }) => void) | undefined
}

const portTries = 50
const takeOverMs = 2_000
const startTogetherMs = 30_000

/** Runs the service, or the part that `mode` names, until `signal` aborts. @throws AppError `locked` · what `openApp` throws */
export async function serve(given: Host, options: ServeOptions, signal: AbortSignal): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const isDrill = options.profile === 'drill'
  const mode = options.mode ?? 'all'
  if (isDrill) refuseConnections()
  const isShared = given.config['database.engine'] === 'mongodb'
  const lock = stack.use(await holdWhileStarting(given, isShared))
  const host = (await resumeRestore(given.backup)) ? openHost(given.environment) : given
  const gate = new WriteGate(mode === 'all' || mode === 'api' ? 'refuse' : 'wait')
  const instance = newInstanceName(host)
  let kekVersion = 0
  const life = { clock: host.clock, gate, log: options.log, instance, mode, kekVersion: () => kekVersion }
  const app = await openApp(host, stack, { isDrill, instance, gate, startLife: (store) => startLife({ ...life, store }) })
  kekVersion = app.kek.activeVersion
  if (isShared) lock[Symbol.dispose]()
  else if (mode !== 'all') throw onlyOneProcess(mode)
  for (const warning of host.warnings) options.log.warn({}, warning)

  const stopping = new AbortController()
  gate.stopping = stopping.signal
  const url = mode === 'all' || mode === 'api' ? await startApi(app, options, stack) : undefined
  const work = runWork(app, mode, gate, options.log, stopping.signal)
  stack.defer(async () => {
    stopping.abort()
    await work.catch(() => {})
  })
  options.onReady?.({ url: url ?? '', app })
  options.log.info({ url, mode, engine: app.store.engine }, 'ready')
  // A process that only answers requests has no loops to wait for.
  await Promise.race([work.then(() => aborted(signal)), aborted(signal)])
}

/** Where this process also answers requests, the work has a thread of its own. A drill has one thread, which connects to nothing. */
function runWork(app: App, mode: ServeMode, gate: WriteGate, log: Log, signal: AbortSignal): Promise<void> {
  if (mode !== 'all' || app.isDrill) return runLoops(app, mode, log, signal)
  const { host, instance, certificates } = app
  const environment = { ...host.environment }
  return runLoopsThread({ environment, instance, publicUrl: certificates.publicUrl, gate: gate.shared }, log, signal)
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/**
 * An embedded database has one service, which keeps the lock. On MongoDB there may be several, which start one after the other: heartbeats
 * tell a restore that they live.
 */
async function holdWhileStarting({ backup }: Host, isShared: boolean): Promise<Disposable> {
  for (const deadline = Date.now() + startTogetherMs; ; ) {
    try {
      return await backup.locks.hold('serve')
    } catch (error) {
      if (!isShared || !isAppError(error, 'locked') || Date.now() > deadline) throw error
      await sleep(100)
    }
  }
}

function onlyOneProcess(mode: ServeMode): AppError {
  return new AppError('preflight', `the embedded database has one process, so --mode=${mode} is of no use`, {
    hint: 'use "serve" without a mode, or move to MongoDB: a backup here and a restore there',
  })
}

/** @returns where the world reaches it */
async function startApi(app: App, options: ServeOptions, stack: AsyncDisposableStack): Promise<string> {
  const { host, isDrill } = app
  await offerSetup(app)
  const http = createHttpServer(app.http(options.log))
  stack.defer(() => http.close())
  const url = options.socket === undefined ? await listen(http, host, options) : await http.listen({ path: options.socket })
  if (!isDrill) await answerHost(http, host, options.log, stack)
  if (!isDrill && host.config['acme.http01_port'] > 0) await answerChallenges(app, stack)
  app.certificates.publicUrl = host.config['server.public_url'] || url
  return url
}

async function answerChallenges({ host, store }: App, stack: AsyncDisposableStack): Promise<void> {
  const port = host.config['acme.http01_port']
  const challenges = await listenForChallenges(store, port).catch((error) => {
    throw new AppError('preflight', `cannot listen on port ${port} for HTTP-01: ${messageOf(error)}`, {
      hint: 'set acme.http01_port in config.yaml to a free one, or to 0 and forward /.well-known/acme-challenge/ to this service',
      cause: error,
    })
  })
  stack.defer(() => void challenges.close().closeAllConnections())
}

type HttpServer = ReturnType<typeof createHttpServer>

async function listen(http: HttpServer, { config }: Host, options: ServeOptions): Promise<string> {
  const first = config['server.port']
  for (let port = first; ; port++) {
    try {
      return await http.listen({ host: config['server.host'], port })
    } catch (error) {
      if (systemCodeOf(error) !== 'EADDRINUSE') throw error
      if (!options.mayMovePort || port >= first + portTries) {
        throw new AppError('preflight', `port ${port} on ${config['server.host']} is busy`, {
          hint: 'set server.port in config.yaml to a free one',
          cause: error,
        })
      }
    }
  }
}

/** The host's own socket. Of several processes of a host one has it; when that ends, another takes it over. */
async function answerHost(http: HttpServer, host: Host, log: Log, stack: AsyncDisposableStack): Promise<void> {
  if (await tookSocket(http, host, stack)) return
  log.info({}, 'another process of this host answers its commands')
  const stopping = new AbortController()
  stack.defer(() => stopping.abort())
  void waitForSocket(http, host, log, stack, stopping.signal)
}

async function waitForSocket(http: HttpServer, host: Host, log: Log, stack: AsyncDisposableStack, signal: AbortSignal) {
  while (!signal.aborted) {
    await sleep(takeOverMs, signal)
    if (signal.aborted) return
    const isTaken = await tookSocket(http, host, stack).catch((error) => log.warn({ error: messageOf(error) }, 'the admin socket'))
    if (isTaken) return log.info({}, 'this process answers the commands of the host now')
  }
}

/** @returns false while another process has it */
async function tookSocket(http: HttpServer, { paths, backup }: Host, stack: AsyncDisposableStack): Promise<boolean> {
  const lock = await backup.locks.hold('admin-socket').catch((error) => {
    if (!isAppError(error, 'locked')) throw error
    return undefined
  })
  if (lock === undefined) return false
  stack.defer(() => lock[Symbol.dispose]())
  await mkdir(dirname(paths.adminSocket), { recursive: true, mode: 0o700 })
  await unlink(paths.adminSocket).catch(() => {})
  await http.listenForHost(paths.adminSocket)
  await chmod(paths.adminSocket, 0o600)
  return true
}

/** Until there is an owner, this host holds a one-time token that the first one is made with. */
async function offerSetup(app: App): Promise<void> {
  const { paths } = app.host
  if (app.isDrill || (await isSetUp(app.store))) return
  await mkdir(dirname(paths.setupToken), { recursive: true, mode: 0o700 })
  await writeFile(paths.setupToken, `${newToken()}\n`, { mode: 0o600, flag: 'wx' }).catch((error) => {
    if (systemCodeOf(error) !== 'EEXIST') throw error
  })
}

/**
 * A drill connects to nothing: not to the database, issuer, target or mailbox that its configuration may name. Where the host gives it no
 * network namespace, this is what stops it.
 */
function refuseConnections(): void {
  Socket.prototype.connect = () => {
    throw new AppError('safe-mode', 'a drill makes no connections')
  }
}
