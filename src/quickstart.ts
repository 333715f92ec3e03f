import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { newToken } from './access/access.ts'
import { isSetUp } from './access/setup.ts'
import type { App } from './app.ts'
import { linkAudit } from './audit/link-audit.ts'
import { createBackup } from './backup/create-backup.ts'
import { publishFile } from './backup/host/files.ts'
import { SocketClient } from './backup/host/socket-client.ts'
import { proveRecovery } from './backup/prove-recovery.ts'
import { runDrill } from './backup/run-drill.ts'
import { verifyListed } from './backup/verify-listed.ts'
import { countCertificates } from './certificates/list-certificates.ts'
import { findImportFiles } from './cli/import-files.ts'
import type { Output } from './cli/output.ts'
import { pathsOf } from './config/paths.ts'
import { AppError } from './core/app-error.ts'
import { formatBytes, formatCount, formatDuration, plural } from './core/units.ts'
import { openHost } from './host.ts'
import { newLog } from './log.ts'
import { serve } from './serve.ts'
import { setUpHome } from './setup-home.ts'

export interface QuickstartInput {
  yes: boolean
  exit: boolean
  environment: NodeJS.ProcessEnv
  out: Output
  signal: AbortSignal
}

const trustStore = '/etc/ssl/certs'
const firstNames = ['www.example.internal', 'db.example.internal', 'drill.example.internal']

/** From a fresh checkout to a proven backup: sets up, starts the service, issues and imports, backs up, verifies, drills, and reports. */
export async function quickstart(input: QuickstartInput): Promise<void> {
  const { out, environment, signal } = input
  const paths = pathsOf(environment)
  const home = await setUpHome(paths)
  for (const path of home.made) out.note(`made       ${path}`)
  for (const path of home.kept) out.note(`there      ${path}`)
  const host = openHost(environment, { progress: (progress) => out.progress(progress) })

  const running = new AbortController()
  const stop = () => running.abort()
  signal.addEventListener('abort', stop, { once: true })
  const { promise: ready, resolve: onReady } = Promise.withResolvers<{ url: string; app: App }>()
  const log = newLog(host.config['logging.level'] === 'debug' ? 'debug' : 'error')
  const serving = serve(host, { log, profile: 'normal', mayMovePort: true, onReady }, running.signal)
  try {
    const { url, app } = await Promise.race([
      ready,
      serving.then(() => {
        throw new AppError('interrupted', 'the service stopped early')
      }),
    ])
    out.note(
      `serving    ${url}${url.endsWith(`:${host.config['server.port']}`) ? '' : ` (port ${host.config['server.port']} was busy)`}`,
    )
    await furnish(app, input)
    await proveBackup(app, input, url)
    if (input.exit) return
    out.note(`open       ${url}`)
    openBrowser(environment, url)
    out.note('the service goes on running; press Ctrl-C to stop it')
    await serving
  } finally {
    running.abort()
    await serving.catch(() => {})
  }
}

/** On a desktop the page opens by itself. */
function openBrowser(environment: NodeJS.ProcessEnv, url: string): void {
  const isDesktop = process.stdout.isTTY === true && (environment.DISPLAY || environment.WAYLAND_DISPLAY)
  if (!isDesktop) return
  spawn('xdg-open', [url], { stdio: 'ignore', detached: true })
    .once('error', () => {})
    .unref()
}

/** Owner, project, CA, first certificates and the machine's trust store; what is there stays. */
async function furnish(app: App, input: QuickstartInput): Promise<void> {
  const { out } = input
  const api = new SocketClient(app.host.paths.adminSocket)
  const post = async <T>(path: string, body: unknown) => JSON.parse(await api.request('POST', path, body)) as T
  if (await isSetUp(app.store)) out.note('there      the first owner')
  else await makeOwner(app, input, post)
  await unlessItExists(out, 'project "default"', () => post('/api/v1/projects', { name: 'default' }))
  await unlessItExists(out, 'CA "Internal"', () => post('/api/v1/cas', { name: 'Internal' }))
  const issued = await countCertificates(app.store, { kind: 'managed' }, app.clock.now())
  if (issued > 0) out.note(`there      ${plural(issued, 'managed certificate')}`)
  else {
    for (const name of firstNames) await post('/api/v1/certificates', { project: 'default', ca: 'Internal', names: [name] })
    out.note(`issued     ${firstNames.join(', ')}`)
  }
  if (!existsSync(trustStore)) return
  const { files } = await findImportFiles([trustStore], undefined)
  const report = { imported: 0, known: 0 }
  for (let start = 0; start < files.length; start += 100) {
    const done = await post<typeof report>('/api/v1/certificates/import', {
      project: 'default',
      files: files.slice(start, start + 100),
    })
    report.imported += done.imported
    report.known += done.known
  }
  out.note(`watching   ${plural(report.imported, 'new certificate')} of ${trustStore}, ${report.known} known already`)
}

async function unlessItExists(out: Output, what: string, make: () => Promise<unknown>): Promise<void> {
  try {
    await make()
    out.note(`made       ${what}`)
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'exists') throw error
    out.note(`there      ${what}`)
  }
}

/** Asks for the owner's e-mail address and password; with --yes makes them and leaves them in a 0600 file. */
async function makeOwner(
  app: App,
  { out, yes, environment, signal }: QuickstartInput,
  post: <T>(path: string, body: unknown) => Promise<T>,
): Promise<void> {
  const parts = app.http({ info() {}, warn() {}, error() {} })
  const token = await parts.setupToken()
  const isAsking = !yes && process.stdin.isTTY === true
  const email = isAsking
    ? (await ask('e-mail address of the owner [owner@localhost]: ', signal)) || 'owner@localhost'
    : 'owner@localhost'
  const password = environment.CERTAUTOPILOT_PASSWORD ?? newToken()
  await post('/api/v1/setup', { token, email, password })
  if (environment.CERTAUTOPILOT_PASSWORD !== undefined) return out.note(`made       owner ${email}`)
  const path = `${app.host.paths.home}/first-login.txt`
  await publishFile(path, `${email}\n${password}\n`)
  out.note(`made       owner ${email}; the password is in ${path}`)
}

async function ask(question: string, signal: AbortSignal): Promise<string> {
  const reader = createInterface({ input: process.stdin, output: process.stdout })
  try {
    return (await reader.question(question, { signal })).trim()
  } finally {
    reader.close()
  }
}

/** Backs up, verifies in full, proves the recovery kit where it is at hand, drills, and reports what was seen. */
async function proveBackup(app: App, { out, environment, signal }: QuickstartInput, url: string): Promise<void> {
  const { host, store } = app
  await linkAudit(store, app.auditSecret)
  const backup = await createBackup(host.backup, store, signal)
  out.note(`backup     ${backup.name}`)
  const hasKit = existsSync(host.paths.recoveryKit)
  const prover = openHost(environment, {
    identityFile: hasKit ? host.paths.recoveryKit : undefined,
    progress: (progress) => out.progress(progress),
  }).backup
  const verified = hasKit
    ? await proveRecovery(prover, backup.name)
    : await verifyListed(prover, { bundle: backup.name, level: 'full', acceptForeign: false })
  const { report } = await runDrill(
    host.backup,
    store,
    { bundle: backup.name, identities: await host.backup.host.identities(), acceptForeign: false },
    signal,
  )
  if (report.outcome === 'failed')
    throw new AppError('verification-failed', `the drill failed: ${report.failure}`, {
      hint: `"certautopilot drill show ${report.id}" shows how far it came`,
    })

  const certificates = report.certificates
  const documents = backup.sidecar.manifest.collections.reduce((sum, { count }) => sum + count, 0)
  out.summary(
    {
      url,
      bundle: backup.name,
      bytes: backup.bytes,
      envelopes: verified.envelopes,
      certificates,
      recovery_ms: report.recovery_ms,
      drill: report.id,
    },
    [
      '',
      'What was proven just now',
      `  saved      ${plural(certificates.production, 'certificate')}, ${plural(documents, 'document')}, keys, settings: ${formatBytes(backup.bytes)}, sealed`,
      `  opened     ${formatCount(verified.envelopes.opened)} of ${plural(verified.envelopes.total, 'envelope')}, with the keys in the bundle${hasKit ? ', by the recovery kit' : ''}`,
      `  drilled    restored in isolation, logged in, opened "${report.opened_certificate}", renewed it`,
      `  compared   ${certificates.restored} certificates restored, ${certificates.production} here`,
      `  recovered  ready in ${formatDuration(report.recovery_ms)}`,
      ...(hasKit ? ['', `Take the recovery kit off this machine now: ${host.paths.recoveryKit}`] : []),
      '',
    ],
  )
}
