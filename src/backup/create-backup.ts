import { sealWrapping } from '../bundle/age-stream.ts'
import { gzipBlocks } from '../bundle/gzip-blocks.ts'
import { archiveName, signValue } from '../bundle/manifest.ts'
import { gzipWrapping } from '../bundle/wrapping.ts'
import { writeBundle } from '../bundle/write-bundle.ts'
import { AppError } from '../core/app-error.ts'
import { compactStamp, sleep } from '../core/clock.ts'
import { type Stage, StageClock, timed } from '../core/stage-clock.ts'
import { formatDuration } from '../core/units.ts'
import { HeldLease } from '../jobs/held-lease.ts'
import { leaseHolder } from '../jobs/lease.ts'
import { countEnvelopes, type EnvelopeTally } from '../kek/open-envelopes.ts'
import type { Snapshot, Store } from '../store/store.ts'
import { captureKeys, secretsOf } from './capture-keys.ts'
import { bundleName, bytesOf, type Catalogue, type CatalogueEntry, type Draft, type Sidecar, suspicionOf } from './catalogue.ts'
import { describeBundle } from './describe-bundle.ts'
import { type Dump, dumpStore, newDump } from './dump-store.ts'
import type { EarlyCopies } from './early-copies.ts'
import { placeOf, recordPoint } from './last-point.ts'
import type { BackupParts } from './parts.ts'
import { openPointInTime } from './point-in-time.ts'

const runLeaseMs = 30_000

export interface BackupResult {
  name: string
  bytes: number
  sidecar: Sidecar
  envelopes: { total: number; opened: number }
  durationMs: number
  /** What a person should know although it is no failure. */
  notes: string[]
  /** Where the time went. What runs side by side is counted by what the pass waited for. */
  stages: Stage[]
}

/**
 * Takes one backup of database and keys as of one point in time.
 *
 * The bundle gets its final name only after the captured keys have opened every envelope in the captured dump, and the sealed file was
 * read back. Until then, and after any failure, the bundles that were there before are untouched.
 *
 * @param copies are sent meanwhile
 * @throws AppError `locked` · `keys-do-not-fit` (22) · `verification-failed` (20, kept as damaged) · `preflight` · `config`
 */
export async function createBackup(
  parts: BackupParts,
  store: Store,
  signal: AbortSignal,
  copies?: EarlyCopies,
): Promise<BackupResult> {
  const started = performance.now()
  const clock = new StageClock()
  using _lock = await parts.locks.hold('backup')
  await using run = await onlyRunOf(parts, store)
  const recipients = await chooseRecipients(parts)
  const previous = await newestBundle(parts)
  // What cannot become a bundle is refused before any writer pauses; what goes into it is captured inside the window.
  await captureKeys(parts, store)
  clock.end('look at secrets and settings')

  const name = await freeName(parts, recipients.length > 0)
  await using draft = await parts.catalogue.startDraft()
  await using held = await openPointInTime(parts, store, previous, AbortSignal.any([signal, run.signal]))
  const { point, method } = held
  requireRestorable(point)
  clock.end('open the point in time')
  const { members, keys, signingKey } = await captureKeys(parts, store)
  clock.end('capture the secrets')
  await using opener = await parts.openEnvelopes(secretsOf(members))
  const dump = newDump()
  const expectedBytes = previous?.sidecar === undefined ? 0 : bytesOf(previous.sidecar.manifest)
  const input = { point, database: store.databaseName, parts, opener, dump, expectedBytes, signal: held.signal }
  parts.progress({ phase: 'reading the database' })
  let archiveMs = 0
  const sealing = recipients.length > 0 ? await sealWrapping(recipients) : undefined
  const { signed, head } = await writeBundle({
    members,
    archive: timed(gzipBlocks(dumpStore(input)), (waitedMs) => (archiveMs += waitedMs)),
    wrapping: sealing ?? gzipWrapping,
    file: draft,
    signingKey,
    begin(headBytes) {
      if (sealing !== undefined) copies?.begin({ name, draft, wrapping: sealing, headBytes })
    },
    async describe(digests) {
      clock.endDivided(waitsOf(dump, archiveMs), 'seal and write')
      await held.proveAndRelease()
      clock.end('prove the point in time')
      dump.proof = await opener.finish()
      clock.end('open the last envelopes')
      return describeBundle({ parts, store, point, method, dump, keys, previous, members: digests })
    },
  })
  parts.progress({ phase: 'reading back what was written' })
  const written = await draft.finish()
  clock.end('sync and read back')
  const { proof } = dump
  if (proof.failureCount > 0) throw await keptAsDamaged(parts, draft, name, proof)

  const artefact = { name, ...written, recipients }
  const sidecar: Sidecar = { ...signed, artefact, artefact_signature: signValue(artefact, signingKey).signature }
  signal.throwIfAborted()
  run.requireHeld()
  const durationMs = performance.now() - started
  const state = { verified_at: signed.manifest.created_at, verified_level: 'full', duration_ms: Math.round(durationMs) } as const
  await draft.publish(name, sidecar, state)
  clock.end('publish')
  copies?.complete(head)
  // It only says sooner to other hosts what the bundle itself says: that it cannot be written down does not make the bundle a bad one.
  await recordPoint(parts, store, name, signed.manifest).catch(() => {})
  const notes = [takenOver(run), held.note].filter((note) => note !== '')
  return { name, bytes: written.bytes, sidecar, envelopes: countEnvelopes(proof), durationMs, notes, stages: clock.stages }
}

/** What no restore can put back makes no bundle. @throws AppError `preflight` */
function requireRestorable({ collections }: Snapshot): void {
  const measured = collections.find(({ type }) => type === 'timeseries')
  if (measured === undefined) return
  throw new AppError('preflight', `"${measured.name}" is a time-series collection, which a restore cannot put back`, {
    hint: 'it is none of CertAutopilot: move it into another database',
  })
}

function waitsOf({ waits }: Dump, archiveMs: number): Stage[] {
  return [
    { stage: 'wait for the database', durationMs: waits.reading },
    { stage: 'wait for envelopes to open', durationMs: waits.opening },
    { stage: 'compress', durationMs: Math.max(0, archiveMs - waits.reading - waits.opening) },
  ]
}

/**
 * Processes of one host exclude each other by a file, those of other hosts by a lease in the store. A lease of this host stems from a
 * process that is gone, as the file is held. @throws AppError `locked`
 */
async function onlyRunOf({ clock, catalogue }: BackupParts, store: Store): Promise<HeldLease> {
  const here = placeOf(catalogue)
  const lease = await HeldLease.take({
    store,
    clock,
    name: 'backup',
    owner: `${here}, process ${process.pid}`,
    durationMs: runLeaseMs,
    isGone: (owner) => owner.startsWith(`${here},`),
  })
  if (lease === undefined) {
    throw new AppError(
      'locked',
      `a backup of this database is being taken by "${await leaseHolder(store, 'backup', clock.now())}"`,
      {
        hint: `wait until it has ended; one that was killed counts as gone after ${formatDuration(runLeaseMs)}`,
      },
    )
  }
  return lease
}

function takenOver({ takenOverFrom }: HeldLease): string {
  return takenOverFrom === '' ? '' : `"${takenOverFrom}" did not end the backup before this one; its lease had ended`
}

/** People's recipients, and this host's own unless that is not wanted, so that verification and drills run without a person. */
async function chooseRecipients(parts: BackupParts): Promise<string[]> {
  if (parts.config['backup.seal'] === 'none') return []
  const people = parts.config['backup.recipients']
  if (people.length === 0) {
    throw new AppError('config', 'bundles are sealed, but "backup.recipients" names nobody who could open them', {
      hint: 'add the recipient of the recovery kit (age1...), or set backup.seal: none',
    })
  }
  return parts.config['backup.host_identity'] ? [...people, await parts.host.hostRecipient()] : [...people]
}

/** What counts are compared with: a bundle that is suspect itself would hide that something is missing. */
async function newestBundle(parts: BackupParts): Promise<CatalogueEntry | undefined> {
  return (await parts.catalogue.list()).find(
    (entry) => !entry.isDamaged && entry.sidecar !== undefined && suspicionOf(entry) === '',
  )
}

/** Names have seconds; the second backup within one waits for the next. */
async function freeName(parts: BackupParts, isSealed: boolean): Promise<string> {
  for (;;) {
    const name = bundleName(compactStamp(parts.clock.now()), isSealed)
    const taken = (await parts.catalogue.list()).some((entry) => entry.name === name || entry.name === `${name}.damaged`)
    if (!taken) return name
    await sleep(200)
  }
}

/** So many of the newest are enough to look at: a cause that stays would fill the disk. */
const damagedKept = 3

async function removeOldDamaged(catalogue: Catalogue): Promise<void> {
  const damaged = (await catalogue.list()).filter(({ isDamaged, state }) => isDamaged && state.pin === undefined)
  for (const { name } of damaged.slice(damagedKept)) await catalogue.remove(name)
}

async function keptAsDamaged({ catalogue }: BackupParts, draft: Draft, name: string, proof: EnvelopeTally): Promise<AppError> {
  const { total, opened } = countEnvelopes(proof)
  await draft.keepDamaged(name, { opened, total, failures: proof.failures })
  await removeOldDamaged(catalogue).catch(() => {})
  const first = proof.failures[0]
  return new AppError(
    'verification-failed',
    `${total - opened} of ${total} envelopes in the captured ${archiveName} do not open, first: ${first?.reason}`,
    {
      hint: `the bundle is kept as "${name}.damaged" and counts for nothing; "${name}.damaged.json" lists what does not open`,
      details: { failures: proof.failures.slice(0, 20) },
    },
  )
}
