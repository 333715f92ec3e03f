import { isSignedBy } from '../bundle/manifest.ts'
import { AppError } from '../core/app-error.ts'
import type { FileVersion, Target } from '../target/target.ts'
import { bundleStamp, type Catalogue, type CatalogueEntry, isOfAnother, type Sidecar } from './catalogue.ts'

/**
 * Bundles at a target, to list, verify, drill and restore from; also such as were removed or overwritten there, while a version is left.
 * Everything known of them comes from their sidecars.
 */
export function targetCatalogue(open: () => Promise<Target>, place: string, signers: () => Promise<string[]>): Catalogue {
  const onlyRead = () => {
    throw new AppError('usage', `"${place}" is only read with --from`, { hint: 'leave --from out to change what is on this host' })
  }
  return {
    directory: place,
    list: async () => (await findBundles(await open(), await signers())).map(({ entry }) => entry),
    async open(name) {
      const target = await open()
      const found = (await findBundles(target, await signers(), name))[0]
      if (found === undefined)
        throw new AppError('not-found', `there is no bundle "${name}" at ${place}`, {
          hint: '"certautopilot backup list --from TARGET" shows them',
        })
      const { entry, version } = found
      return { name, bytes: entry.bytes, sidecar: entry.sidecar, read: () => target.open(name, version) }
    },
    addState: async () => {},
    startDraft: onlyRead,
    remove: onlyRead,
  }
}

/**
 * The bundles that are whole there: a copy was read back before its sidecar was written. Newest first.
 * @param signers a sidecar that none of them has signed says nothing; without them any signature that fits is taken
 */
export async function listTarget(target: Target, { signers }: { signers?: readonly string[] } = {}): Promise<CatalogueEntry[]> {
  const files = await target.list()
  const names = new Set(files.map(({ name }) => name))
  const bundles = files.filter(({ name }) => bundleStamp(name) !== undefined && names.has(sidecarName(name)))
  const entries = await Promise.all(
    bundles.map(async ({ name, bytes }) => entryOf(name, bytes, trusted(await readSidecar(target, name), signers))),
  )
  return entries.sort(newestFirst)
}

/** Installations that share a folder and begin in the same second give the same name. @throws AppError `exists` it is taken there */
export async function requireNameFree(target: Target, name: string, installationId: string | undefined): Promise<void> {
  if (isOfAnother(await readSidecar(target, name), installationId)) throw nameTaken(target, name)
}

export function nameTaken(target: Target, name: string): AppError {
  return new AppError(
    'exists',
    `target "${target.name}" (${target.place}): "${name}" is there already, and of another installation; give each a folder of its own`,
  )
}

export function sidecarName(bundle: string): string {
  return `${bundle}.manifest.json`
}

interface Found {
  entry: CatalogueEntry
  version: string | undefined
}

async function findBundles(target: Target, signers: readonly string[], only?: string): Promise<Found[]> {
  const versions = await versionsOf(target)
  const names = [...new Set(versions.map(({ name }) => name))].filter((name) => bundleStamp(name) !== undefined)
  const found = await Promise.all(
    names.filter((name) => only === undefined || name === only).map((name) => findBundle(target, name, versions, signers)),
  )
  return found.filter((one) => one !== undefined).sort((a, b) => newestFirst(a.entry, b.entry))
}

/**
 * The newest sidecar, one of a known signer first, and the newest content that is as long as it says: whoever removes or overwrites a copy
 * leaves both behind, where versions are kept.
 */
async function findBundle(
  target: Target,
  name: string,
  versions: readonly FileVersion[],
  signers: readonly string[],
): Promise<Found | undefined> {
  const contents = versions.filter((version) => version.name === name)
  const own = versions.filter((candidate) => candidate.name === sidecarName(name))
  const read = await Promise.all(own.map(async (at) => ({ at, sidecar: await readSidecar(target, name, at.version || undefined) })))
  const known = read.filter(({ sidecar }) => sidecar !== undefined && signers.includes(sidecar.signer))
  const candidates = [...known, ...read].flatMap(({ at, sidecar }) => (sidecar === undefined ? [] : [{ at, sidecar }]))
  for (const { at, sidecar } of candidates) {
    const content = contents.find(({ bytes }) => bytes === sidecar.artefact.bytes)
    if (content === undefined) continue
    const entry = entryOf(name, content.bytes, sidecar)
    const isRemoved = !at.isCurrent || !content.isCurrent
    return { entry: isRemoved ? { ...entry, isRemoved } : entry, version: content.version || undefined }
  }
  const sidecar = candidates[0]?.sidecar
  return sidecar && { entry: entryOf(name, contents[0]?.bytes ?? 0, sidecar), version: undefined }
}

async function versionsOf(target: Target): Promise<FileVersion[]> {
  const current = async () => (await target.list()).map((file) => ({ ...file, version: '', isCurrent: true }))
  if (target.versions === undefined) return current()
  return target.versions().catch((error) => {
    if (error instanceof AppError && error.code === 'forbidden') return current()
    throw error
  })
}

function newestFirst(a: CatalogueEntry, b: CatalogueEntry): number {
  return a.name < b.name ? 1 : -1
}

function entryOf(name: string, bytes: number, sidecar: Sidecar | undefined): CatalogueEntry {
  const isWhole = sidecar?.artefact.bytes === bytes
  const verified_at = sidecar?.manifest.created_at
  const state = isWhole && verified_at !== undefined ? ({ verified_at, verified_level: 'full' } as const) : {}
  return { name, bytes, sidecar, state, isDamaged: sidecar !== undefined && !isWhole }
}

function trusted(sidecar: Sidecar | undefined, signers: readonly string[] | undefined): Sidecar | undefined {
  return sidecar === undefined || signers === undefined || signers.includes(sidecar.signer) ? sidecar : undefined
}

const maxSidecarBytes = 4 * 1024 * 1024

/** What comes from a target may be anything. @returns undefined when it is not a sidecar, or not as it was signed */
async function readSidecar(target: Target, bundle: string, version?: string): Promise<Sidecar | undefined> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of target.open(sidecarName(bundle), version)) {
      size += chunk.length
      if (size > maxSidecarBytes) return undefined
      parts.push(chunk)
    }
  } catch (error) {
    if (error instanceof AppError && error.code === 'not-found') return undefined
    throw error
  }
  try {
    const sidecar = JSON.parse(Buffer.concat(parts).toString()) as Sidecar
    return isSidecarOf(bundle, sidecar) ? sidecar : undefined
  } catch {
    return undefined
  }
}

function isSidecarOf(bundle: string, { manifest, artefact, signer, signature, artefact_signature }: Sidecar): boolean {
  const isComplete =
    typeof manifest?.created_at === 'string' &&
    typeof manifest.point_in_time?.taken_at === 'string' &&
    Array.isArray(manifest.collections) &&
    artefact?.name === bundle &&
    Array.isArray(artefact.recipients) &&
    Array.isArray(manifest.kek?.versions) &&
    manifest.kek.versions.every(({ version, fingerprint }) => typeof version === 'number' && typeof fingerprint === 'string') &&
    typeof manifest.suspect === 'string'
  if (!isComplete) return false
  return isSignedBy(manifest, { signer, signature }) && isSignedBy(artefact, { signer, signature: artefact_signature })
}
