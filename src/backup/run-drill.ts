import { createPrivateKey, X509Certificate } from 'node:crypto'
import { systemActor } from '../audit/audit.ts'
import { signValue } from '../bundle/manifest.ts'
import { AppError, messageOf } from '../core/app-error.ts'
import { sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import { startNewEpoch } from '../epoch/epoch.ts'
import { retireJobs } from '../jobs/retire-jobs.ts'
import type { Store } from '../store/store.ts'
import { newestBundle } from './catalogue.ts'
import type { DrillReport, SignedDrillReport } from './drill-report.ts'
import type { BackupParts, CapturedKeys, DrillGround, DrillServer } from './parts.ts'
import { stageBundle } from './stage-bundle.ts'

export interface DrillInput {
  /** The newest good bundle if not given. */
  bundle?: string | undefined
  identities: readonly Secret[]
  acceptForeign: boolean
}

/** Collections whose counts are compared with production. */
const compared = ['certificates', 'certificate_private_keys', 'certificate_authorities', 'projects', 'users']
const jobTimeoutMs = 60_000

/**
 * Restores a bundle into isolation and proves that it works: the real server boots on it, the drill's user logs in, a certificate is
 * opened and its key fits, a renewal runs to its end, and the counts are those of production.
 * @param production counted for the comparison, and otherwise left alone
 * @returns the report, kept and signed, also when the drill failed
 */
export async function runDrill(
  parts: BackupParts,
  production: Store,
  input: DrillInput,
  signal: AbortSignal,
): Promise<SignedDrillReport> {
  using _lock = await parts.locks.hold('drill')
  const bundle = input.bundle ?? newestBundle(await parts.source.list())
  const report = emptyReport(bundle, parts.clock.now())
  const keys: { captured?: CapturedKeys } = {}
  try {
    await using ground = await parts.openDrillGround()
    await perform(parts, ground, { production, input: { ...input, bundle }, report, keys, signal })
    report.outcome = 'passed'
  } catch (error) {
    if (signal.aborted) throw error
    report.failure = messageOf(error)
    if (keys.captured === undefined) throw error
  }
  const { signingKey } = parts.keysIn(await parts.secretStore.capture())
  if (signingKey === undefined) throw new AppError('config', '"CERTAUTOPILOT_SIGNING_KEY" is missing: the report cannot be signed')
  const signed = { report, ...signValue(report, signingKey) }
  await parts.drills.save(signed)
  return signed
}

interface Run {
  production: Store
  input: DrillInput & { bundle: string }
  report: DrillReport
  keys: { captured?: CapturedKeys }
  signal: AbortSignal
}

async function perform(parts: BackupParts, ground: DrillGround, run: Run): Promise<void> {
  const { report } = run
  const timer = new Timer(report)
  parts.progress({ phase: 'restoring into isolation' })
  await restoreInto(parts, ground, run)
  timer.end('restore')
  parts.progress({ phase: 'booting the restored service' })
  await using server = await ground.boot(run.signal)
  report.isolation = server.isolation
  timer.end('boot')
  report.recovery_ms = report.stages.reduce((sum, { ms }) => sum + ms, 0)

  parts.progress({ phase: 'logging in' })
  await logIn(server, run.keys.captured)
  timer.end('log in')
  const id = await openOneCertificate(server, report)
  timer.end('open a certificate')
  parts.progress({ phase: 'renewing' })
  await renew(server, id, report, run.signal)
  timer.end('renew')
  await compareCounts(parts, server, report)
  timer.end('compare')
}

async function restoreInto(
  parts: BackupParts,
  ground: DrillGround,
  { input, report, keys, production, signal }: Run,
): Promise<void> {
  await using exchange = await ground.openExchange()
  const staged = await stageBundle(parts, await exchange.stage('drill', parts.collections), input, signal)
  keys.captured = parts.keysIn(staged.secrets)
  report.envelopes = staged.envelopes
  if (staged.signed !== undefined)
    report.data_age_ms = Date.parse(report.started_at) - Date.parse(staged.signed.manifest.point_in_time.taken_at)
  for (const collection of compared) {
    report.counts.push({
      collection,
      restored: await staged.store.count(collection),
      production: await production.count(collection),
    })
  }
  await retireJobs(staged.store, ['running', 'queued'], 'retired by the drill', parts.clock.now())
  await startNewEpoch(staged.store, systemActor, { restoredFrom: input.bundle, presentEpoch: 0 }, parts.clock.now())
  await staged.store.close()
  await exchange.cutOver('drill')
  await ground.host.stageFiles('drill', staged.files)
  await ground.host.swapFiles('drill')
}

async function logIn(server: DrillServer, keys: CapturedKeys | undefined): Promise<void> {
  const password = keys?.drillPassword
  if (password === undefined)
    throw new AppError('verification-failed', 'the bundle holds no CERTAUTOPILOT_DRILL_PASSWORD to log in with')
  await server.request('POST', '/api/v1/auth/login', { email: 'drill@localhost', password: password.reveal() })
}

/** Opens the key of one certificate and checks that it is the certificate's. @returns its id */
async function openOneCertificate(server: DrillServer, report: DrillReport): Promise<string> {
  const list = await requestJson<{ items: { _id: string; name: string; has_key: boolean; serial: string }[] }>(
    server,
    '/api/v1/certificates?kind=managed&sort=not_after&direction=desc&limit=500',
  )
  const chosen = list.items.find((certificate) => certificate.has_key)
  if (chosen === undefined) {
    throw new AppError('nothing-verified', 'the bundle holds no managed certificate with a key that a drill could renew', {
      hint: 'issue one from an internal CA, for the drills: "certautopilot cert issue drill.internal"',
    })
  }
  await requireFittingKey(server, chosen._id)
  report.opened_certificate = chosen.name
  report.renewal.serial_before = chosen.serial
  return chosen._id
}

async function requireFittingKey(server: DrillServer, id: string): Promise<void> {
  const certificate = new X509Certificate(await server.request('GET', `/api/v1/certificates/${id}/download?format=pem`))
  const key = createPrivateKey(await server.request('GET', `/api/v1/certificates/${id}/download?format=key`))
  if (!certificate.checkPrivateKey(key))
    throw new AppError('verification-failed', `the private key of certificate "${id}" does not fit it`)
}

async function renew(server: DrillServer, id: string, report: DrillReport, signal: AbortSignal): Promise<void> {
  const queued = JSON.parse(await server.request('POST', `/api/v1/certificates/${id}/renew`)) as { _id: string }
  report.renewal.job = queued._id
  const job = await finishedJob(server, queued._id, signal)
  report.renewal.steps = job.steps.map((step) => step.text)
  if (job.state !== 'succeeded') throw new AppError('verification-failed', `the renewal did not succeed: ${job.error || job.state}`)
  const renewed = await requestJson<{ serial: string }>(server, `/api/v1/certificates/${id}`)
  if (renewed.serial === report.renewal.serial_before)
    throw new AppError('verification-failed', 'the renewal left the old certificate in place')
  await requireFittingKey(server, id)
  report.renewal.serial_after = renewed.serial
}

interface SeenJob {
  state: string
  error: string
  attempts: number
  steps: { text: string }[]
}

/** Watches a job until it has ended, or has failed once: a drill does not wait for retries. */
async function finishedJob(server: DrillServer, id: string, signal: AbortSignal): Promise<SeenJob> {
  const deadline = performance.now() + jobTimeoutMs
  for (;;) {
    const job = await requestJson<SeenJob>(server, `/api/v1/jobs/${id}`)
    if (job.state === 'succeeded' || job.state === 'dead' || job.error !== '') return job
    if (performance.now() > deadline)
      throw new AppError(
        'verification-failed',
        `the renewal did not end within ${jobTimeoutMs / 1000} s: "${job.steps.at(-1)?.text}"`,
      )
    signal.throwIfAborted()
    await sleep(100, signal)
  }
}

async function compareCounts(parts: BackupParts, server: DrillServer, report: DrillReport): Promise<void> {
  const shown = await requestJson<{ count: number }>(server, '/api/v1/certificates/count')
  const certificates = report.counts.find(({ collection }) => collection === 'certificates')
  if (certificates === undefined || shown.count !== certificates.restored) {
    throw new AppError(
      'verification-failed',
      `the restored service shows ${shown.count} certificates, ${certificates?.restored} were restored`,
    )
  }
  report.certificates = {
    restored: certificates.restored,
    production: certificates.production,
    drift_percent: Math.ceil(drift(certificates)),
  }
  const limit = parts.config['drill.max_drift_percent']
  const far = report.counts.find((counts) => drift(counts) > limit && Math.abs(counts.restored - counts.production) > 1)
  if (far !== undefined) {
    throw new AppError(
      'verification-failed',
      `"${far.collection}": ${far.restored} restored, ${far.production} in production, more than ${limit} % apart`,
      {
        hint: 'take a new backup; if the drift stays, the backup leaves something out',
      },
    )
  }
}

function drift({ restored, production }: { restored: number; production: number }): number {
  return (Math.abs(restored - production) / Math.max(production, 1)) * 100
}

async function requestJson<T>(server: DrillServer, path: string): Promise<T> {
  return JSON.parse(await server.request('GET', path)) as T
}

function emptyReport(bundle: string, now: Date): DrillReport {
  return {
    id: newId(now.getTime()),
    bundle,
    started_at: now.toISOString(),
    outcome: 'failed',
    failure: '',
    isolation: 'connection-guard',
    envelopes: { total: 0, opened: 0 },
    certificates: { restored: 0, production: 0, drift_percent: 0 },
    counts: [],
    opened_certificate: '',
    renewal: { job: '', steps: [], serial_before: '', serial_after: '' },
    stages: [],
    recovery_ms: 0,
    data_age_ms: 0,
  }
}

class Timer {
  readonly #report: DrillReport
  #started = performance.now()

  constructor(report: DrillReport) {
    this.#report = report
  }

  end(stage: string): void {
    const now = performance.now()
    this.#report.stages.push({ stage, ms: Math.round(now - this.#started) })
    this.#started = now
  }
}
