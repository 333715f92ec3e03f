import { hostname } from 'node:os'
import type { Manifest } from '../bundle/manifest.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import { secondMs } from '../core/clock.ts'
import { formatDuration } from '../core/units.ts'
import { pauseWriters, type WritePause } from '../quiesce/pause-writers.ts'
import type { Snapshot, Store } from '../store/store.ts'
import { bytesOf, type CatalogueEntry } from './catalogue.ts'
import type { BackupParts } from './parts.ts'

/** Database and secrets as of one moment. */
export interface PointInTime extends AsyncDisposable {
  point: Snapshot
  method: Manifest['point_in_time']['method']
  /** Aborts with the caller's, and when the moment can no longer be held. */
  signal: AbortSignal
  /** Why it is not held as configured; empty when it is. */
  note: string
  /** When everything is read: proves that the moment held, and lets writers go on. @throws AppError `preflight` it did not */
  proveAndRelease(): Promise<void>
}

/**
 * A snapshot while the service goes on; or, where the server proves none, would not hold one for long enough, or the configuration wants
 * it, a pause of every writer.
 * @throws AppError `preflight` (24) neither can be had, and what to change · `locked` (11) · `unreachable` (28)
 */
export async function openPointInTime(
  parts: BackupParts,
  store: Store,
  previous: CatalogueEntry | undefined,
  signal: AbortSignal,
): Promise<PointInTime> {
  if (parts.config['backup.consistency'] === 'quiesced') {
    refuseLongPause(parts, await expectedMs(store, previous), undefined)
    return quiesced(parts, store, signal, '')
  }
  parts.progress({ phase: 'opening a snapshot' })
  const point = await snapshotOf(store)
  const neededMs = await expectedMs(store, previous, point)
  if (point !== undefined && neededMs < (point.windowMs ?? Number.POSITIVE_INFINITY)) return heldSnapshot(point, signal)
  await point?.[Symbol.asyncDispose]()
  refuseLongPause(parts, neededMs, point)
  const why =
    point === undefined
      ? 'the server gives no snapshot that holds'
      : `the dump may outlive the snapshot of ${formatDuration(point.windowMs ?? 0)}`
  return quiesced(parts, store, signal, `${why}: every writer paused instead`)
}

async function snapshotOf(store: Store): Promise<Snapshot | undefined> {
  return store.snapshot().catch((error) => {
    if (isAppError(error, 'preflight')) return undefined
    throw error
  })
}

function heldSnapshot(point: Snapshot, signal: AbortSignal): PointInTime {
  const release = () => point[Symbol.asyncDispose]()
  return {
    point,
    method: 'snapshot',
    note: '',
    signal,
    async proveAndRelease() {
      await point.prove()
      await release()
    },
    [Symbol.asyncDispose]: release,
  }
}

async function quiesced(parts: BackupParts, store: Store, signal: AbortSignal, note: string): Promise<PointInTime> {
  parts.progress({ phase: 'waiting until nobody writes' })
  await using stack = new AsyncDisposableStack()
  const pause = stack.use(await pauseFor(parts, store, 'backup', signal))
  const position = await auditPosition(store)
  const point = stack.use(await store.snapshot({ isQuiesced: true }))
  const kept = stack.move()
  return {
    point,
    method: 'quiesced',
    note,
    signal: AbortSignal.any([signal, pause.signal]),
    async proveAndRelease() {
      await point.prove()
      if ((await auditPosition(store)) !== position) throw somebodyWrote()
      pause.requireHeld()
      await kept.disposeAsync()
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

/** Pauses the writers as long as the configuration allows. */
export function pauseFor({ clock, config }: BackupParts, store: Store, purpose: string, signal: AbortSignal): Promise<WritePause> {
  const owner = `${purpose} on ${config['server.instance_name'] || hostname()}, process ${process.pid}`
  const waitMs = config['backup.pause_wait_seconds'] * secondMs
  return pauseWriters({ store, clock, owner, waitMs, maxMs: config['backup.max_write_pause_seconds'] * secondMs }, signal)
}

/** Bytes a second that a dump mostly does, where no bundle tells how long one takes here. */
const usualRate = 80_000_000
/** A backup of less says little about rates. */
const tellingBytes = 50_000_000

/** How long reading will take: as the last backup did and a little more, or by what there is to read. */
async function expectedMs(store: Store, previous: CatalogueEntry | undefined, point?: Snapshot): Promise<number> {
  const known = lastMs(previous)
  if (known !== undefined) return known
  if (point !== undefined) return point.windowMs === undefined ? 0 : readingMs(point)
  // Nobody pauses for it: it is only asked how much there is.
  await using view = await store.snapshot({ isQuiesced: true })
  return readingMs(view)
}

async function readingMs(view: Snapshot): Promise<number> {
  return slower(((await view.dataBytes()) ?? 0) / (usualRate / 1000))
}

/** By the last backup; undefined where that says nothing. */
function lastMs(previous: CatalogueEntry | undefined): number | undefined {
  const durationMs = previous?.state.duration_ms ?? 0
  const isTelling = durationMs > 0 && previous?.sidecar !== undefined && bytesOf(previous.sidecar.manifest) > tellingBytes
  return isTelling ? slower(durationMs) : undefined
}

function slower(durationMs: number): number {
  return durationMs * 1.25
}

/** Said before anything starts, instead of failing in the middle. @throws AppError `preflight` */
function refuseLongPause({ config }: BackupParts, neededMs: number, point: Snapshot | undefined): void {
  const pauseMs = config['backup.max_write_pause_seconds'] * secondMs
  if (neededMs <= pauseMs) return
  const parameter = point?.way === 'transaction' ? 'transactionLifetimeLimitSeconds' : 'minSnapshotHistoryWindowInSeconds'
  const window = point?.windowMs === undefined ? '' : `the server holds a snapshot for ${formatDuration(point.windowMs)}, and `
  const seconds = Math.ceil(neededMs / 1000) * 2
  throw new AppError(
    'preflight',
    `the dump will take about ${formatDuration(neededMs)}, ${window}writers pause for ${formatDuration(pauseMs)} at most`,
    {
      hint: `raise ${window === '' ? '' : `${parameter} on the server to ${seconds}, or `}backup.max_write_pause_seconds in config.yaml${window === '' ? ` to ${seconds}` : ''}`,
    },
  )
}

/** Where the audit log ends: every change that matters writes into it. */
async function auditPosition(store: Store): Promise<string> {
  const { items } = await store.find('audit_logs', { sort: { field: '_id', direction: 'desc' }, limit: 1 })
  return items[0]?._id ?? ''
}

function somebodyWrote(): AppError {
  return new AppError('preflight', 'something was written while every writer was paused', {
    hint: 'look in the audit log who it was: a command run beside the service, or a process of an older version',
  })
}
