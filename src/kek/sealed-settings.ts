import type { Envelope, EnvelopePlace } from './envelope.ts'
import type { KekRegistry } from './registry.ts'

/** How something elsewhere is reached: its settings and its secret. */
export interface Access {
  settings: Readonly<Record<string, string>>
  secret: string
}

/**
 * Seals both: whoever has the address of a webhook can write there, so it is a secret too.
 * @returns the envelope, and the settings with no more of a URL than its origin
 */
export function sealAccess(
  kek: KekRegistry,
  place: EnvelopePlace,
  access: Access,
): { envelope: Envelope; settings: Record<string, string> } {
  const envelope = kek.seal(place, Buffer.from(JSON.stringify(access)))
  const { url } = access.settings
  return { envelope, settings: url === undefined ? { ...access.settings } : { ...access.settings, url: new URL(url).origin } }
}

export function openAccess(kek: KekRegistry, place: EnvelopePlace, envelope: Envelope): Access {
  return JSON.parse(kek.open(place, envelope).toString()) as Access
}
