import type { ArchiveEvent } from '../archive/read-archive.ts'
import { sha256Of } from '../bundle/digest.ts'
import { isSignedBy, type SignedManifest } from '../bundle/manifest.ts'
import { type BundleContents, readBundle } from '../bundle/read-bundle.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import type { Secret } from '../core/secret.ts'
import { countEnvelopes, type EnvelopeOpener, type EnvelopeTally } from '../kek/open-envelopes.ts'
import type { CollectionSpec } from '../store/store.ts'
import type { VerifyLevel } from './catalogue.ts'
import type { BackupParts } from './parts.ts'

export interface VerifyInput {
  bundle: string
  level: VerifyLevel
  identities: readonly Secret[]
  /** Accept a manifest that is signed by somebody else. */
  acceptForeign: boolean
}

export interface Verification {
  name: string
  level: VerifyLevel
  signed: SignedManifest
  documents: number
  envelopes: { total: number; opened: number }
  isSealed: boolean
  durationMs: number
}

/** How many documents of a block a quick check looks at. */
const quickDocuments = 1

/**
 * Reads a bundle from front to back with nothing but an identity: every byte, every digest, every CRC; `full` opens every envelope with
 * the keys in the bundle, `quick` one of each block.
 * @throws AppError `wrong-identity` (12) · `corrupt`, `archive-...` (23) · `verification-failed` (20) · `nothing-verified` (21) ·
 * `keys-do-not-fit` (22) · `not-ours` · `too-new` · `not-found` (10)
 */
export async function verifyBackup(parts: BackupParts, input: VerifyInput): Promise<Verification> {
  const started = performance.now()
  const file = await parts.source.open(input.bundle)
  const tally: { current?: EnvelopeTally } = {}
  let bytesDone = 0
  const counted = async function* () {
    for await (const chunk of file.read()) {
      bytesDone += chunk.length
      parts.progress({ phase: 'verifying', bytesDone, bytesTotal: file.bytes })
      yield chunk
    }
  }
  const digest = sha256Of(counted())
  const reading = readBundle(digest.bytes, input.identities, async (events, files) => {
    const secrets = files.get('secrets.env')
    if (secrets === undefined) throw new AppError('corrupt', 'the bundle holds no "secrets.env" before its archive')
    await using opener = await parts.openEnvelopes(secrets)
    await openAll(events, opener, parts.collections, input.level)
    tally.current = await opener.finish()
  })
  const contents = await naming(file.name, reading)
  if (file.sidecar !== undefined && digest.value() !== file.sidecar.artefact.sha256) {
    throw new AppError('corrupt', `"${file.name}" is not the file that its sidecar describes`)
  }
  const signed = requireTrusted(contents, await parts.host.signers(), input.acceptForeign)
  const envelopes = checkTally(tally.current, signed, input.level)
  const documents = contents.ends.reduce((sum, { count }) => sum + count, 0)
  return {
    name: file.name,
    level: input.level,
    signed,
    documents,
    envelopes,
    isSealed: contents.isSealed,
    durationMs: performance.now() - started,
  }
}

/** Feeds the envelope-bearing documents of an archive to an opener. */
export async function openAll(
  events: AsyncIterable<ArchiveEvent>,
  opener: EnvelopeOpener,
  collections: readonly CollectionSpec[],
  level: VerifyLevel,
): Promise<void> {
  const envelopes = new Map(collections.map((spec) => [spec.name, spec.envelopes ?? []]))
  for await (const event of events) {
    const fields = event.kind === 'documents' ? (envelopes.get(event.collection) ?? []) : []
    if (event.kind === 'documents' && fields.length > 0)
      await opener.add(event.collection, fields, level === 'full' ? event.documents : sampleOf(event.documents))
  }
}

function sampleOf(documents: Buffer): Buffer {
  let end = 0
  for (let count = 0; count < quickDocuments && end < documents.length; count++) end += documents.readInt32LE(end)
  return documents.subarray(0, end)
}

/** @throws AppError `not-ours` unsigned, or signed by a key that nobody here knows · `corrupt` the signature is wrong */
export function requireTrusted(contents: BundleContents, signers: readonly string[], acceptForeign: boolean): SignedManifest {
  const { signed } = contents
  if (signed === undefined)
    throw new AppError('not-ours', 'this is a bare archive without a manifest: there is nothing to verify it against', {
      hint: 'add --accept-foreign if you know where it comes from',
    })
  if (!isSignedBy(signed.manifest, signed))
    throw new AppError('corrupt', 'the signature of the manifest is wrong: it was changed after it was written')
  if (!acceptForeign && !signers.includes(signed.signer)) {
    throw new AppError('not-ours', `the bundle is signed by ${signed.signer}, which is not known here`, {
      hint: 'compare it with the recovery kit; give the kit with --identity, or add --accept-foreign if you know where the bundle comes from',
    })
  }
  return signed
}

/** @throws AppError `verification-failed` · `nothing-verified` · `keys-do-not-fit` */
export function checkTally(
  tally: EnvelopeTally | undefined,
  signed: SignedManifest | undefined,
  level: VerifyLevel,
): { total: number; opened: number } {
  const counts = tally === undefined ? { total: 0, opened: 0 } : countEnvelopes(tally)
  const first = tally?.failures[0]
  if (tally !== undefined && first !== undefined) {
    const isKeyMissing = counts.opened === 0 && /is not at hand/.test(first.reason)
    throw new AppError(
      isKeyMissing ? 'keys-do-not-fit' : 'verification-failed',
      `${counts.total - counts.opened} of ${counts.total} envelopes do not open, first: ${first.reason}`,
      {
        hint: 'use another bundle; "backup list" shows which ones are verified',
        details: { failures: tally.failures.slice(0, 20) },
      },
    )
  }
  if (counts.total === 0) throw new AppError('nothing-verified', 'not one envelope was checked: the bundle proves nothing')
  const wanted = signed?.manifest.kek.versions.reduce((sum, version) => sum + version.envelopes, 0)
  if (level === 'full' && wanted !== undefined && wanted !== counts.opened) {
    throw new AppError('verification-failed', `${counts.opened} envelopes opened, the manifest names ${wanted}`)
  }
  return counts
}

/** What is wrong with a bundle is said with its name. */
export async function naming<T>(name: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isAppError(error) || !/^(corrupt|archive-.*|wrong-identity)$/.test(error.code) || error.message.includes(name)) throw error
    const { hint, details, cause } = error
    throw new AppError(error.code, `"${name}": ${error.message}`, {
      cause,
      ...(hint === undefined ? {} : { hint }),
      ...(details === undefined ? {} : { details }),
    })
  }
}
