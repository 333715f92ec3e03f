import { AppError } from '../core/app-error.ts'
import type { Target } from '../target/target.ts'
import { bundleStamp, type Catalogue, type CatalogueEntry, type Sidecar } from './catalogue.ts'

/** Bundles at a target, to list, verify, drill and restore from. Everything known of them comes from their sidecars. */
export function targetCatalogue(open: () => Promise<Target>, place: string): Catalogue {
  const onlyRead = () => {
    throw new AppError('usage', `"${place}" is only read with --from`, { hint: 'leave --from out to change what is on this host' })
  }
  return {
    directory: place,
    list: async () => listTarget(await open()),
    async open(name) {
      const target = await open()
      const found = (await target.list()).find((file) => file.name === name)
      if (found === undefined)
        throw new AppError('not-found', `there is no bundle "${name}" at ${place}`, {
          hint: '"certautopilot backup list --from TARGET" shows them',
        })
      return { name, bytes: found.bytes, sidecar: await readSidecar(target, name), read: () => target.open(name) }
    },
    addState: async () => {},
    startDraft: onlyRead,
    remove: onlyRead,
    agreeRetainDays: onlyRead,
  }
}

/** The bundles that are whole there: a copy was read back before its sidecar was written. Newest first. */
export async function listTarget(target: Target): Promise<CatalogueEntry[]> {
  const files = await target.list()
  const names = new Set(files.map(({ name }) => name))
  const bundles = files.filter(({ name }) => bundleStamp(name) !== undefined && names.has(sidecarName(name)))
  const entries = await Promise.all(bundles.map(({ name, bytes }) => entryOf(target, name, bytes)))
  return entries.sort((a, b) => (a.name < b.name ? 1 : -1))
}

export function sidecarName(bundle: string): string {
  return `${bundle}.manifest.json`
}

async function entryOf(target: Target, name: string, bytes: number): Promise<CatalogueEntry> {
  const sidecar = await readSidecar(target, name)
  const isWhole = sidecar?.artefact.bytes === bytes
  const verified_at = sidecar?.manifest.created_at
  const state = isWhole && verified_at !== undefined ? ({ verified_at, verified_level: 'full' } as const) : {}
  return { name, bytes, sidecar, state, isDamaged: sidecar !== undefined && !isWhole }
}

const maxSidecarBytes = 4 * 1024 * 1024

/** What comes from a target may be anything. @returns undefined when it is not a sidecar */
async function readSidecar(target: Target, bundle: string): Promise<Sidecar | undefined> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of target.open(sidecarName(bundle))) {
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
    const { manifest, artefact } = sidecar
    const isSidecar =
      typeof manifest?.created_at === 'string' && typeof manifest.point_in_time?.taken_at === 'string' && artefact?.name === bundle
    return isSidecar && Array.isArray(manifest.collections) && Array.isArray(artefact.recipients) ? sidecar : undefined
  } catch {
    return undefined
  }
}
