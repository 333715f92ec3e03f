import { resealedStream } from '../bundle/age-stream.ts'
import { sha256Of } from '../bundle/digest.ts'
import { signValue } from '../bundle/manifest.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { once } from '../core/chunks.ts'
import type { Secret } from '../core/secret.ts'
import { plural } from '../core/units.ts'
import { inOrder, type Target } from '../target/target.ts'
import { type CatalogueEntry, isOfAnother, type Sidecar } from './catalogue.ts'
import { type EarlyCopies, prepareCopies } from './early-copies.ts'
import { lockedUntil } from './lock-dates.ts'
import { type BackupParts, ownInstallation, type TargetAccess } from './parts.ts'
import { addNote, pruneTarget, type TargetResult } from './prune-target.ts'
import { isVerified } from './retention.ts'
import { readBack, type SentFile, sendFile } from './send-file.ts'
import { listTarget, nameTaken, sidecarName } from './target-catalogue.ts'

/**
 * Brings every verified bundle of this host that a target should have to it, newest first, and lets its retention run. Targets are side
 * by side: one that fails does not keep the others, and is caught up next time.
 * @param early copies that are under way; they hold the lock
 */
export async function copyToTargets(parts: BackupParts, signal: AbortSignal, early?: EarlyCopies): Promise<TargetResult[]> {
  if (parts.targets.length === 0) return []
  if (parts.config['backup.seal'] === 'none')
    return parts.targets.map(({ location }) =>
      emptyResult(location.name, 'plain bundles (backup.seal: none) never leave this host'),
    )
  if (early !== undefined) return serveTargets(parts, signal, early)
  await using copies = await prepareCopies(parts, signal)
  if (copies === undefined)
    return parts.targets.map(({ location }) => emptyResult(location.name, 'another run is copying to the targets now'))
  return await serveTargets(parts, signal, copies)
}

async function serveTargets(parts: BackupParts, signal: AbortSignal, early: EarlyCopies): Promise<TargetResult[]> {
  const results = await Promise.all(parts.targets.map((access) => serveTarget(parts, access, signal, early)))
  // That it cannot be written down does not make a good backup a bad one.
  await noteStanding(parts, results).catch(() => {})
  return results
}

async function noteStanding({ clock, standing }: BackupParts, results: readonly TargetResult[]): Promise<void> {
  const now = clock.now().toISOString()
  await standing.change((before) => {
    const found = results.map(({ target, error }) => {
      const whole_at = error === '' ? now : (before.targets[target]?.whole_at ?? '')
      return [target, { tried_at: now, error, whole_at }] as const
    })
    return { ...before, targets: Object.fromEntries(found) }
  })
}

function emptyResult(target: string, error = ''): TargetResult {
  return { target, copied: [], removed: [], error, note: '' }
}

/** @throws AppError `partial` (3) when a target failed: the bundle is good on this host */
export function requireWhole(results: readonly TargetResult[]): void {
  const failed = results.filter(({ error }) => error !== '')
  if (failed.length === 0) return
  throw new AppError('partial', `not every target has its copies: ${failed.map(({ error }) => error).join('; ')}`, {
    hint: 'the next backup tries again, and so does "certautopilot backup target sync"; "backup target test NAME" finds out more',
    details: { targets: results },
  })
}

async function serveTarget(
  parts: BackupParts,
  { location, open }: TargetAccess,
  signal: AbortSignal,
  early: EarlyCopies,
): Promise<TargetResult> {
  const result = emptyResult(location.name)
  try {
    const target = await open()
    const { entries, taken, foreign } = await lacking(parts, target)
    if (foreign > 0) addNote(result, `${plural(foreign, 'bundle')} of another installation there: left alone`)
    const problems: string[] = []
    for (const entry of entries) {
      signal.throwIfAborted()
      parts.progress({ phase: `copying to ${location.name}` })
      const until = lockedUntil(entry, [], location.rules, parts.clock.now())
      try {
        const sent = (await early.of(entry.name, target.name)) ?? (await send(parts, target, entry, until, signal))
        await completeCopy(parts, target, entry, sent, until)
        result.copied.push(entry.name)
      } catch (error) {
        signal.throwIfAborted()
        problems.push(await problemOf(parts, entry, error))
      }
    }
    await pruneTarget(parts, { location, open }, target, result)
    if (problems.length > 0) throw new AppError('corrupt', problems.join('; '))
    if (taken !== undefined) throw nameTaken(target, taken)
  } catch (error) {
    signal.throwIfAborted()
    result.error = messageOf(error)
  }
  return result
}

interface Lacking {
  entries: CatalogueEntry[]
  /** The first of them that cannot go there, as another installation has a bundle of that name there. */
  taken: string | undefined
  /** How many bundles of other installations are there. */
  foreign: number
}

/** What is verified here and is not whole there; of what is older than everything there, retention has decided already. */
async function lacking(parts: BackupParts, target: Target): Promise<Lacking> {
  const there = await listTarget(target)
  const installationId = await ownInstallation(parts)
  const isTheirs = (entry: CatalogueEntry) => isOfAnother(entry.sidecar, installationId)
  const theirs = new Set(there.filter(isTheirs).map(({ name }) => name))
  const own = new Map(there.filter((entry) => !isTheirs(entry)).map((entry) => [entry.name, entry]))
  const newestThere = [...own.keys()][0] ?? ''
  const here = (await parts.catalogue.list()).filter((entry) => isVerified(entry) && entry.name.endsWith('.age'))
  const entries = here.filter(({ name, state }) => {
    const copy = own.get(name)
    if (copy !== undefined) return copy.isDamaged
    return name > newestThere || state.copies?.[target.name] === undefined
  })
  const taken = entries.find(({ name }) => theirs.has(name))?.name
  return { entries: entries.filter(({ name }) => !theirs.has(name)), taken, foreign: theirs.size }
}

/** What is wrong with one bundle keeps no other from its copy. @throws whatever went wrong on the way, or at the target */
async function problemOf(parts: BackupParts, entry: CatalogueEntry, error: unknown): Promise<string> {
  if (!(await isAsPublished(parts, entry))) return noteSpoilt(parts, entry, error)
  if (isAppError(error, 'wrong-identity')) return `"${entry.name}" was not copied: ${error.message}`
  throw error
}

async function noteSpoilt({ catalogue, clock }: BackupParts, { name }: CatalogueEntry, error: unknown): Promise<string> {
  const failure = `"${name}" on this host is not what was published (${messageOf(error)}), and was not copied`
  await catalogue.addState(name, () => ({ failed_at: clock.now().toISOString(), failure }))
  return failure
}

/** Looked at after a failure, whose cause may be the file: a header that opens for nobody, a sector that cannot be read. */
async function isAsPublished({ catalogue }: BackupParts, { name, sidecar }: CatalogueEntry): Promise<boolean> {
  try {
    const watched = sha256Of((await catalogue.open(name)).read())
    for await (const _chunk of watched.bytes);
    return watched.value() === sidecar?.artefact.sha256
  } catch {
    return false
  }
}

/** The copy is sealed to people only: whoever has this host cannot open what left it. */
async function send(
  { host, config, catalogue, progress }: BackupParts,
  target: Target,
  entry: CatalogueEntry,
  lockedUntil: Date | undefined,
  signal: AbortSignal,
): Promise<SentFile> {
  const recipients = config['backup.recipients']
  const file = await catalogue.open(entry.name)
  const isForPeople = entry.sidecar?.artefact.recipients.toSorted().join() === recipients.toSorted().join()
  const here = asPublished(entry, file.read())
  const body = isForPeople ? here : resealedStream(await host.identities(), here, recipients)
  return sendFile(target, entry.name, {
    content: inOrder(body),
    lockedUntil,
    signal,
    onSent: (bytesDone) =>
      progress({ phase: `copying to ${target.name}`, bytesDone, bytesTotal: Math.max(bytesDone, entry.bytes) }),
  })
}

/** A disk may have changed a file since it was verified: what is sent is what its manifest names, or nothing. */
async function* asPublished({ sidecar }: CatalogueEntry, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const watched = sha256Of(content)
  yield* watched.bytes
  if (watched.value() === sidecar?.artefact.sha256) return
  throw new AppError('corrupt', 'its SHA-256 is not the one in its manifest')
}

/** It is read back before its sidecar names it. */
async function completeCopy(
  { config, catalogue, clock, keysIn, secretStore }: BackupParts,
  target: Target,
  entry: CatalogueEntry,
  sent: SentFile,
  lockedUntil: Date | undefined,
): Promise<void> {
  const found = await readBack(target, entry.name, sent)
  const signingKey = keysIn(await secretStore.capture()).signingKey as Secret
  const artefact = { name: entry.name, ...found, recipients: [...config['backup.recipients']] }
  const sidecar = { ...(entry.sidecar as Sidecar), artefact, artefact_signature: signValue(artefact, signingKey).signature }
  await target.put(sidecarName(entry.name), inOrder(once(Buffer.from(JSON.stringify(sidecar, null, 2)))), lockedUntil)
  const copy = { at: clock.now().toISOString(), ...found }
  await catalogue.addState(entry.name, ({ copies }) => ({ copies: { ...copies, [target.name]: copy } }))
}
