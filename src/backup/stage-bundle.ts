import type { ArchiveEvent } from '../archive/read-archive.ts'
import type { SignedManifest } from '../bundle/manifest.ts'
import { type BundleContents, readBundle } from '../bundle/read-bundle.ts'
import { AppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { countEnvelopes, type EnvelopeTally } from '../kek/open-envelopes.ts'
import { buildRegistry } from '../kek/registry.ts'
import type { Staging } from '../store/staging.ts'
import type { Store } from '../store/store.ts'
import type { BackupParts } from './parts.ts'
import { checkTally, naming, requireTrusted } from './verify-backup.ts'

export interface StageInput {
  bundle: string
  identities: readonly Secret[]
  /** Accept a bundle that is unsigned or signed by somebody else. */
  acceptForeign: boolean
}

/** A staged copy of a bundle's database that has proved itself. */
export interface Staged {
  signed: SignedManifest | undefined
  files: ReadonlyMap<string, Buffer>
  secrets: Buffer
  documents: number
  envelopes: { total: number; opened: number }
  store: Store
}

/** Loads a bundle into a staged copy while checking everything that `verify --level full` checks. */
export async function stageBundle(parts: BackupParts, staging: Staging, input: StageInput, signal: AbortSignal): Promise<Staged> {
  const file = await parts.source.open(input.bundle)
  let secrets: Buffer | undefined
  let tally: EnvelopeTally | undefined
  let bytesDone = 0
  const source = async function* () {
    for await (const chunk of file.read()) {
      signal.throwIfAborted()
      bytesDone += chunk.length
      parts.progress({ phase: 'staging the bundle', bytesDone, bytesTotal: file.bytes })
      yield chunk
    }
  }
  const reading = readBundle(source(), input.identities, async (events, files) => {
    secrets = files.get('secrets.env') ?? (await parts.secretStore.capture())
    await using opener = await parts.openEnvelopes(secrets)
    await loadAll(events, staging, opener, parts)
    tally = await opener.finish()
  })
  const contents = await naming(file.name, reading)
  const signed = trusted(contents, await parts.host.signers(), input.acceptForeign)
  const envelopes =
    tally !== undefined && countEnvelopes(tally).total === 0 && signed === undefined
      ? { total: 0, opened: 0 }
      : checkTally(tally, signed, 'full')
  const documents = contents.ends.reduce((sum, { count }) => sum + count, 0)
  if (documents === 0)
    throw new AppError('nothing-verified', 'the bundle holds no documents: restoring it would leave an empty database')
  await staging.finish()
  const store = await staging.open()
  await store.prepare(parts.collections)
  const keys = parts.keysIn(secrets as unknown as Buffer)
  await buildRegistry({ store, provider: keys.provider, clock: parts.clock, collections: parts.collections }, keys.installationId)
  return { signed, files: contents.files, secrets: secrets as unknown as Buffer, documents, envelopes, store }
}

function trusted(contents: BundleContents, signers: readonly string[], acceptForeign: boolean): SignedManifest | undefined {
  if (contents.signed === undefined && acceptForeign) return undefined
  return requireTrusted(contents, signers, acceptForeign)
}

/** The database name in the archive does not matter: its documents go to the database that is configured here. */
async function loadAll(
  events: AsyncIterable<ArchiveEvent>,
  staging: Staging,
  opener: Awaited<ReturnType<BackupParts['openEnvelopes']>>,
  parts: BackupParts,
): Promise<void> {
  const envelopes = new Map(parts.collections.map((spec) => [spec.name, spec.envelopes ?? []]))
  let database: string | undefined
  for await (const event of events) {
    if (event.kind === 'prelude') {
      const databases = [...new Set(event.prelude.collections.map((collection) => collection.database))]
      database = chosenDatabase(databases, event.prelude.collections)
      for (const collection of event.prelude.collections)
        if (collection.database === database) await staging.createCollection(collection.info)
    }
    if (event.kind !== 'documents' || event.database !== database) continue
    const fields = envelopes.get(event.collection) ?? []
    if (fields.length > 0) await opener.add(event.collection, fields, event.documents)
    await staging.load(event.collection, event.documents)
  }
}

/** @throws AppError `corrupt` the archive holds several databases and none is ours */
function chosenDatabase(databases: string[], collections: { database: string; info: { name: string } }[]): string | undefined {
  if (databases.length <= 1) return databases[0]
  const ours = collections.find(({ info }) => info.name === 'kek_install')?.database
  if (ours === undefined)
    throw new AppError(
      'corrupt',
      `the archive holds ${databases.length} databases (${databases.join(', ')}), and none of CertAutopilot`,
    )
  return ours
}
