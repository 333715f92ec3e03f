import { deserialize } from 'bson'
import type { DocumentBlock, NamespaceEnd } from '../archive/format.ts'
import { writeArchive } from '../archive/write-archive.ts'
import { timed } from '../core/stage-clock.ts'
import { type EnvelopeOpener, type EnvelopeTally, emptyTally, usualQueueBytes } from '../kek/open-envelopes.ts'
import type { Snapshot } from '../store/store.ts'
import type { BackupParts } from './parts.ts'

/** What was learnt while the dump passed by: counts and CRCs, and the few documents that the manifest speaks of. */
export interface Dump {
  ends: NamespaceEnd[]
  /** Documents of the small collections below, by collection. */
  small: Map<string, Record<string, unknown>[]>
  /** Whether the envelopes opened. */
  proof: EnvelopeTally
  /** How long the pass waited for what, in ms. */
  waits: { reading: number; opening: number }
}

export function newDump(): Dump {
  return { ends: [], small: new Map(), proof: emptyTally(), waits: { reading: 0, opening: 0 } }
}

const remembered = new Set(['kek_install', 'kek_versions', 'epochs', 'audit_head'])

interface DumpInput {
  point: Snapshot
  database: string
  parts: Pick<BackupParts, 'collections' | 'progress' | 'appVersion'>
  opener: EnvelopeOpener
  dump: Dump
  /** About how much there will be, by the bundle before; 0 when there is none. */
  expectedBytes: number
  signal: AbortSignal
}

/** One pass over the bytes feeds the archive, its CRCs, and the envelope check. */
export function dumpStore(input: DumpInput): AsyncGenerator<Buffer> {
  const { point, database, parts, dump } = input
  const collections = point.collections.map((info) => ({ database, info }))
  return writeArchive(
    { serverVersion: point.serverVersion, toolVersion: `certautopilot ${parts.appVersion}`, collections },
    blocksOf(input),
    (end) => dump.ends.push(end),
  )
}

/** Opened while the database does nothing but prepare the answer of a large collection, which may take a second or more. */
const longQueueBytes = 16 * 1024 * 1024
/** So much of the others, and their large collection has answered. */
const answeredBytes = 8 * 1024 * 1024

async function* blocksOf(input: DumpInput): AsyncGenerator<DocumentBlock> {
  const { parts, opener, dump, expectedBytes, signal } = input
  const envelopes = new Map(parts.collections.map((spec) => [spec.name, spec.envelopes ?? []]))
  let bytesDone = 0
  const source = timed(merged(input, envelopes), (waitedMs) => (dump.waits.reading += waitedMs))
  for await (const block of source) {
    signal.throwIfAborted()
    const { collection, documents } = block
    const fields = envelopes.get(collection) ?? []
    if (remembered.has(collection)) dump.small.set(collection, [...(dump.small.get(collection) ?? []), ...decoded(documents)])
    if (fields.length > 0 && documents.length > 0) {
      const asked = performance.now()
      await opener.add(collection, fields, documents, longQueueBytes)
      dump.waits.opening += performance.now() - asked
    }
    bytesDone += documents.length
    parts.progress({
      phase: 'reading the database',
      bytesDone,
      ...(expectedBytes > bytesDone ? { bytesTotal: expectedBytes } : {}),
    })
    yield block
  }
}

/** Both kinds of collections at once where the snapshot allows it, else in between each other. */
function merged(input: DumpInput, envelopes: ReadonlyMap<string, readonly string[]>): AsyncGenerator<DocumentBlock> {
  const { point, database } = input
  if (!point.isConcurrent) return readAhead(interleaved(input, envelopes))
  const [sealed, plain] = sourcesOf(point, database, envelopes)
  return sideBySide([whileThereIsRoom(readAhead(sealed), input.opener), readAhead(plain)])
}

/** Opening envelopes takes longer than reading them, so their collections are read only as fast, and the others in between. */
async function* interleaved(
  { point, database, opener }: DumpInput,
  envelopes: ReadonlyMap<string, readonly string[]>,
): AsyncGenerator<DocumentBlock> {
  const [sealed, plain] = sourcesOf(point, database, envelopes)
  let plainBytes = 0
  for (let isPlainDone = false; ; ) {
    const queueBytes = plainBytes < answeredBytes ? longQueueBytes : usualQueueBytes
    const source = isPlainDone || opener.queuedBytes < queueBytes ? sealed : plain
    const { done, value } = await source.next()
    if (source === plain && !done) plainBytes += value.documents.length
    if (!done) yield value
    else if (source === plain) isPlainDone = true
    else break
  }
  yield* plain
}

/** Blocks of the collections that hold envelopes, and of the others. */
function sourcesOf(
  point: Snapshot,
  database: string,
  envelopes: ReadonlyMap<string, readonly string[]>,
): [AsyncGenerator<DocumentBlock>, AsyncGenerator<DocumentBlock>] {
  const names = point.collections.filter(({ type }) => type !== 'view').map(({ name }) => name)
  const hasEnvelopes = (name: string) => (envelopes.get(name) ?? []).length > 0
  const plain = names.filter((name) => !hasEnvelopes(name))
  return [blocksOfCollections(point, database, names.filter(hasEnvelopes)), blocksOfCollections(point, database, plain)]
}

/** Holds blocks back while many wait to be opened: whoever takes from both sources goes on with the other. */
async function* whileThereIsRoom(source: AsyncGenerator<DocumentBlock>, opener: EnvelopeOpener): AsyncGenerator<DocumentBlock> {
  for await (const block of source) {
    await opener.room()
    yield block
  }
}

/** Whichever source has something first. No promise of one source outlives what another has given, which it would keep in memory. */
export async function* sideBySide<T>(sources: readonly AsyncGenerator<T>[]): AsyncGenerator<T> {
  const ready: { source: AsyncGenerator<T>; answer: PromiseSettledResult<IteratorResult<T>> }[] = []
  let woken = Promise.withResolvers<void>()
  const ask = async (source: AsyncGenerator<T>) => {
    const [answer] = await Promise.allSettled([source.next()])
    ready.push({ source, answer })
    woken.resolve()
  }
  try {
    for (const source of sources) void ask(source)
    for (let open = sources.length; open > 0; ) {
      await woken.promise
      woken = Promise.withResolvers()
      for (const { source, answer } of ready.splice(0)) {
        if (answer.status === 'rejected') throw answer.reason
        if (answer.value.done) {
          open--
          continue
        }
        void ask(source)
        yield answer.value.value
      }
    }
  } finally {
    await Promise.all(sources.map((source) => source.return(undefined)))
  }
}

/** An empty block ends each collection. */
async function* blocksOfCollections(point: Snapshot, database: string, names: readonly string[]): AsyncGenerator<DocumentBlock> {
  for (const collection of names) {
    for await (const documents of point.read(collection)) yield { database, collection, documents }
    yield { database, collection, documents: Buffer.alloc(0) }
  }
}

/** Asks for the next block before the present one is used, so that the database works while we do; still one read at a time. */
async function* readAhead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = source.next()
  try {
    for (;;) {
      const { done, value } = await next
      if (done) return
      next = source.next()
      next.catch(() => {})
      yield value
    }
  } finally {
    await source.return(undefined)
  }
}

function decoded(documents: Buffer): Record<string, unknown>[] {
  const found: Record<string, unknown>[] = []
  for (let position = 0; position < documents.length; position += documents.readInt32LE(position)) {
    found.push(deserialize(documents.subarray(position, position + documents.readInt32LE(position))))
  }
  return found
}
