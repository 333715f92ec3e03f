import { deserialize } from 'bson'
import type { DocumentBlock, NamespaceEnd } from '../archive/format.ts'
import { writeArchive } from '../archive/write-archive.ts'
import type { EnvelopeOpener } from '../kek/open-envelopes.ts'
import type { Snapshot } from '../store/store.ts'
import type { BackupParts } from './parts.ts'

/** What was learnt while the dump passed by: counts and CRCs, and the few documents that the manifest speaks of. */
export interface Dump {
  ends: NamespaceEnd[]
  /** Documents of the small collections below, by collection. */
  small: Map<string, Record<string, unknown>[]>
}

const remembered = new Set(['kek_install', 'kek_versions', 'epochs', 'audit_head'])

interface DumpInput {
  point: Snapshot
  database: string
  parts: Pick<BackupParts, 'collections' | 'progress' | 'appVersion'>
  opener: EnvelopeOpener
  dump: Dump
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

async function* blocksOf({ point, database, parts, opener, dump, signal }: DumpInput): AsyncGenerator<DocumentBlock> {
  const envelopes = new Map(parts.collections.map((spec) => [spec.name, spec.envelopes ?? []]))
  let bytesDone = 0
  for (const { name, type } of point.collections) {
    if (type === 'view') continue
    const fields = envelopes.get(name) ?? []
    for await (const documents of point.read(name)) {
      signal.throwIfAborted()
      if (remembered.has(name)) dump.small.set(name, [...(dump.small.get(name) ?? []), ...decoded(documents)])
      if (fields.length > 0) await opener.add(name, fields, documents)
      bytesDone += documents.length
      parts.progress({ phase: 'reading the database', bytesDone })
      yield { database, collection: name, documents }
    }
    yield { database, collection: name, documents: Buffer.alloc(0) }
  }
}

function decoded(documents: Buffer): Record<string, unknown>[] {
  const found: Record<string, unknown>[] = []
  for (let position = 0; position < documents.length; position += documents.readInt32LE(position)) {
    found.push(deserialize(documents.subarray(position, position + documents.readInt32LE(position))))
  }
  return found
}
