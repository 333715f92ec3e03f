import { resealedStream } from '../bundle/age-stream.ts'
import { sha256Of } from '../bundle/digest.ts'
import { signValue } from '../bundle/manifest.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import type { Target, TargetRules } from '../target/target.ts'
import type { CatalogueEntry, Sidecar } from './catalogue.ts'
import { lockedUntil } from './lock-dates.ts'
import type { BackupParts, TargetAccess } from './parts.ts'
import { isVerified, planRetention, type Verdict } from './retention.ts'
import { listTarget, sidecarName } from './target-catalogue.ts'

export interface TargetResult {
  target: string
  copied: string[]
  removed: string[]
  /** What went wrong; empty when nothing did. */
  error: string
  /** What a person should know although it is no failure. */
  note: string
}

/**
 * Brings every verified bundle of this host that a target should have to it, newest first, and lets its retention run. Targets are side
 * by side: one that fails does not keep the others, and is caught up next time.
 */
export async function copyToTargets(parts: BackupParts, signal: AbortSignal): Promise<TargetResult[]> {
  if (parts.targets.length === 0) return []
  if (parts.config['backup.seal'] === 'none')
    return parts.targets.map(({ location }) =>
      emptyResult(location.name, 'plain bundles (backup.seal: none) never leave this host'),
    )
  const lock = await parts.locks.hold('targets').catch((error) => {
    if (!isAppError(error, 'locked')) throw error
    return undefined
  })
  if (lock === undefined)
    return parts.targets.map(({ location }) => emptyResult(location.name, 'another run is copying to the targets now'))
  try {
    const results = await Promise.all(parts.targets.map((access) => serveTarget(parts, access, signal)))
    // That it cannot be written down does not make a good backup a bad one.
    await noteStanding(parts, results).catch(() => {})
    return results
  } finally {
    lock[Symbol.dispose]()
  }
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
  throw new AppError('partial', `the bundle is good on this host, but ${failed.map(({ error }) => error).join('; ')}`, {
    hint: 'the next backup brings the target what it lacks; "certautopilot backup target test NAME" finds out more',
    details: { targets: results },
  })
}

async function serveTarget(parts: BackupParts, { location, open }: TargetAccess, signal: AbortSignal): Promise<TargetResult> {
  const result = emptyResult(location.name)
  try {
    const target = await open()
    for (const entry of await lacking(parts, target)) {
      signal.throwIfAborted()
      parts.progress({ phase: `copying to ${location.name}` })
      await copyBundle(parts, target, entry, lockedUntil(entry, [], location.rules, parts.clock.now()))
      result.copied.push(entry.name)
    }
    await pruneTarget(parts, { location, open }, target, result)
  } catch (error) {
    signal.throwIfAborted()
    result.error = messageOf(error)
  }
  return result
}

/** What is verified here and is not there; of what is older than everything there, retention has decided already. */
async function lacking(parts: BackupParts, target: Target): Promise<CatalogueEntry[]> {
  const there = await listTarget(target)
  const whole = new Set(there.map(({ name }) => name))
  const newestThere = there[0]?.name ?? ''
  const here = (await parts.catalogue.list()).filter((entry) => isVerified(entry) && entry.name.endsWith('.age'))
  return here.filter(({ name, state }) => !whole.has(name) && (name > newestThere || state.copies?.[target.name] === undefined))
}

/** The copy is sealed to people only: whoever has this host cannot open what left it. It is read back before its sidecar names it. */
async function copyBundle(parts: BackupParts, target: Target, entry: CatalogueEntry, until: Date | undefined): Promise<void> {
  const { host, config, catalogue, clock, keysIn, secretStore } = parts
  const sidecar = entry.sidecar as Sidecar
  const recipients = config['backup.recipients']
  const file = await catalogue.open(entry.name)
  const isForPeople = sidecar.artefact.recipients.toSorted().join() === recipients.toSorted().join()
  const sent = sha256Of(isForPeople ? file.read() : resealedStream(await host.identities(), file.read(), recipients))
  let bytes = 0
  await target.put(
    entry.name,
    counted(sent.bytes, (size) => {
      bytes += size
      parts.progress({ phase: `copying to ${target.name}`, bytesDone: bytes, bytesTotal: Math.max(bytes, entry.bytes) })
    }),
    until,
  )
  const sha256 = sent.value()
  await readBack(target, entry.name, sha256)
  const signingKey = keysIn(await secretStore.capture()).signingKey as Secret
  const artefact = { name: entry.name, bytes, sha256, recipients: [...recipients] }
  const copy: Sidecar = { ...sidecar, artefact, artefact_signature: signValue(artefact, signingKey).signature }
  await target.put(sidecarName(entry.name), once(Buffer.from(JSON.stringify(copy, null, 2))), until)
  const copies = { ...entry.state.copies, [target.name]: { at: clock.now().toISOString(), bytes, sha256 } }
  await catalogue.addState(entry.name, { copies })
}

async function readBack(target: Target, name: string, sha256: string): Promise<void> {
  const read = sha256Of(target.open(name))
  for await (const _ of read.bytes);
  if (read.value() === sha256) return
  await target.remove(name).catch(() => {})
  throw new AppError('unreachable', `target "${target.name}": "${name}" read back is not what was sent`, {
    hint: 'the target or the way to it is faulty; the copy was not published',
  })
}

/** A credential that may only add is as good: the target's own rules then remove what is old. */
async function pruneTarget(parts: BackupParts, { location }: TargetAccess, target: Target, result: TargetResult): Promise<void> {
  const { daily, weekly, monthly } = location.rules
  const rules = {
    daily,
    weekly,
    monthly,
    least: parts.config['backup.keep_least'],
    days: 0,
    timeZone: parts.config['backup.time_zone'],
    installationId: parts.keysIn(await parts.secretStore.capture()).installationId,
  }
  const signers = await parts.host.signers()
  const { verdicts, stopped } = planRetention(await listTarget(target, { signers }), rules, parts.clock.now())
  await extendLocks(parts, { target, rules: location.rules, verdicts, result })
  if (stopped !== '') {
    result.note = `nothing was removed there: ${stopped}`
    return
  }
  for (const { entry, isKept } of verdicts) {
    if (isKept) continue
    try {
      await target.remove(entry.name)
      await target.remove(sidecarName(entry.name))
      result.removed.push(entry.name)
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'forbidden') throw error
      result.note = `"${entry.name}" stays there: it is locked, or this credential may not remove`
      return
    }
  }
}

/** A bundle that turned out to be the one of its week or month is locked for as long as that is kept. */
async function extendLocks(
  { clock }: BackupParts,
  { target, rules, verdicts, result }: { target: Target; rules: TargetRules; verdicts: readonly Verdict[]; result: TargetResult },
): Promise<void> {
  if (target.extendLock === undefined || rules.lockMode === 'none') return
  for (const { entry, tiers } of verdicts) {
    const until = lockedUntil(entry, tiers, rules, clock.now())
    if (until === undefined || !tiers.some(({ period, isOver }) => isOver && period !== 'day')) continue
    try {
      for (const name of [entry.name, sidecarName(entry.name)]) await target.extendLock(name, until)
    } catch (error) {
      if (!isAppError(error, 'forbidden')) throw error
      result.note = 'locks were not extended: this credential lacks the right to (s3:PutObjectRetention)'
      return
    }
  }
}

async function* counted(source: AsyncIterable<Buffer>, add: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    add(chunk.length)
    yield chunk
  }
}

export async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content
}
