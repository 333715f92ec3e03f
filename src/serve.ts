import { chmod, mkdir, unlink, writeFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { dirname } from 'node:path'
import { newToken } from './access/access.ts'
import { isSetUp } from './access/setup.ts'
import { type App, type Log, openApp } from './app.ts'
import { resumeRestore } from './backup/restore-backup.ts'
import { noteFailure } from './certificates/note-failure.ts'
import { AppError, isAppError, messageOf, systemCodeOf } from './core/app-error.ts'
import { sleep } from './core/clock.ts'
import { type Host, openHost } from './host.ts'
import { listenForChallenges } from './http/challenge-listener.ts'
import { createHttpServer } from './http/server.ts'
import { jobHandlers } from './job-handlers.ts'
import type { Job } from './jobs/job.ts'
import { runScheduler } from './jobs/scheduler.ts'
import { runWorker } from './jobs/worker.ts'
import { schedulesOf } from './schedules.ts'

export interface ServeOptions {
  log: Log
  profile: 'normal' | 'drill'
  /** Listen on this Unix socket instead of a port. */
  socket?: string | undefined
  /** Take the next free port when the configured one is busy. */
  mayMovePort?: boolean | undefined
  onReady?: ((started: { url: string; app: App }) => void) | undefined
}

const heartbeatMs = 10_000
const heartbeatLeaseMs = 30_000
const portTries = 50

/** Runs the service (API, worker, scheduler) until `signal` aborts. @throws AppError `locked` · what `openApp` throws */
export async function serve(given: Host, options: ServeOptions, signal: AbortSignal): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const isDrill = options.profile === 'drill'
  if (isDrill) refuseConnections()
  const lock = await given.backup.locks.hold('serve')
  stack.defer(() => lock[Symbol.dispose]())
  const host = (await resumeRestore(given.backup)) ? openHost(given.environment) : given
  const app = await openApp(host, stack, { isDrill })
  for (const warning of host.warnings) options.log.warn({}, warning)
  await offerSetup(app)

  const http = createHttpServer(app.http(options.log))
  stack.defer(() => http.close())
  const url = options.socket === undefined ? await listen(http, host, options) : await http.listen({ path: options.socket })
  if (!isDrill) await listenForHost(http, host.paths.adminSocket)
  const challengePort = host.config['acme.http01_port']
  if (challengePort > 0 && !isDrill) {
    const challenges = await listenForChallenges(app.store, challengePort).catch((error) => {
      throw new AppError('preflight', `cannot listen on port ${challengePort} for HTTP-01: ${messageOf(error)}`, {
        hint: 'set acme.http01_port in config.yaml to a free one, or to 0 and forward /.well-known/acme-challenge/ to this service',
        cause: error,
      })
    })
    stack.defer(() => void challenges.close().closeAllConnections())
  }
  app.certificates.publicUrl = host.config['server.public_url'] || url

  const stopping = new AbortController()
  const loops = startLoops(app, options.log, stopping.signal)
  stack.defer(async () => {
    stopping.abort()
    await loops
  })
  options.onReady?.({ url, app })
  options.log.info({ url, engine: app.store.engine }, 'ready')
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
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

async function listenForHost(http: HttpServer, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await unlink(path).catch(() => {})
  await http.listenForHost(path)
  await chmod(path, 0o600)
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

async function startLoops(app: App, log: Log, signal: AbortSignal): Promise<void> {
  const { store, clock, config, instance: owner } = app
  const worker = {
    store,
    clock,
    handlers: jobHandlers(app),
    log,
    mayWork: app.mayAct,
    owner,
    leaseMs: config['worker.lease_seconds'] * 1000,
    concurrency: config['worker.concurrency'],
    onFailure: (job: Job) => noteFailure(app.certificates, job),
  }
  const scheduler = { store, clock, owner, schedules: schedulesOf(app, signal), log }
  await Promise.all([runWorker(worker, signal), runScheduler(scheduler, signal), beat(app, log, signal)])
}

/** Says that this process lives, so that a restore does not exchange the database under it. */
async function beat({ store, clock, instance }: App, log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const now = clock.now().getTime()
    const document = { _id: instance, lease_until: new Date(now + heartbeatLeaseMs), expires_at: new Date(now + heartbeatLeaseMs) }
    await store
      .commit([{ replace: 'heartbeats', document }])
      .catch((error) => {
        if (isAppError(error, 'conflict')) return store.commit([{ insert: 'heartbeats', document }])
        throw error
      })
      .catch((error) => log.warn({ error: messageOf(error) }, 'the heartbeat could not be written'))
    await sleep(heartbeatMs, signal)
  }
  await store.commit([{ remove: 'heartbeats', id: instance }]).catch(() => {})
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
