import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { bsonType, findElement, splitDocuments, stringValue } from '../document/raw-document.ts'
import { openEnvelope, rawEnvelope } from './envelope.ts'
import type { KeyProvider } from './key-provider.ts'

export interface EnvelopeFailure {
  collection: string
  id: string
  field: string
  reason: string
}

/** How many envelopes there were and how many opened, per KEK version, and the first failures by name. */
export interface EnvelopeTally {
  versions: Record<number, { total: number; opened: number }>
  failures: EnvelopeFailure[]
  failureCount: number
}

/** Keeps an opener busy while something else passes by. */
export const usualQueueBytes = 8 * 1024 * 1024

/** Opens the envelopes of raw documents while they pass by. */
export interface EnvelopeOpener extends AsyncDisposable {
  /** What waits to be opened. */
  readonly queuedBytes: number
  /** Waits until fewer bytes are in the queue than it usually holds. */
  room(): Promise<void>
  /** Waits first while `queueBytes` or more are in the queue. */
  add(collection: string, fields: readonly string[], documents: Buffer, queueBytes?: number): Promise<void>
  /** Everything added has been opened. */
  finish(): Promise<EnvelopeTally>
}

const maxNamedFailures = 1000

export function emptyTally(): EnvelopeTally {
  return { versions: {}, failures: [], failureCount: 0 }
}

export function countEnvelopes(tally: EnvelopeTally): { total: number; opened: number } {
  const counts = Object.values(tally.versions)
  return { total: counts.reduce((sum, { total }) => sum + total, 0), opened: counts.reduce((sum, { opened }) => sum + opened, 0) }
}

/** Opens every envelope of some documents; a field that should hold one and does not is a failure too. */
export function tallyEnvelopes(
  provider: KeyProvider,
  tally: EnvelopeTally,
  block: { collection: string; fields: readonly string[]; documents: Buffer },
): void {
  for (const bytes of splitDocuments(block.documents)) {
    const id = recordIdOf(bytes) ?? '(unreadable)'
    for (const field of block.fields) tallyField(provider, tally, { collection: block.collection, recordId: id, field }, bytes)
  }
}

function tallyField(
  provider: KeyProvider,
  tally: EnvelopeTally,
  place: { collection: string; recordId: string; field: string },
  bytes: Buffer,
): void {
  let version = 0
  try {
    const element = findElement(bytes, place.field)
    if (element === undefined) throw new AppError('verification-failed', `"${place.field}" is missing`)
    const envelope = rawEnvelope(bytes, element)
    version = envelope.kek_version
    openEnvelope(provider, place, envelope)
    count(tally, version, 1)
  } catch (error) {
    count(tally, version, 0)
    tally.failureCount++
    const reason = isAppError(error) ? error.message : `not an envelope: ${messageOf(error)}`
    if (tally.failures.length < maxNamedFailures)
      tally.failures.push({ collection: place.collection, id: place.recordId, field: place.field, reason })
  }
}

function count(tally: EnvelopeTally, version: number, opened: 0 | 1): void {
  const counts = tally.versions[version] ?? { total: 0, opened: 0 }
  tally.versions[version] = counts
  counts.total++
  counts.opened += opened
}

function recordIdOf(bytes: Buffer): string | undefined {
  try {
    const id = findElement(bytes, '_id')
    return id?.type === bsonType.string ? stringValue(bytes, id) : ''
  } catch {
    return undefined
  }
}
