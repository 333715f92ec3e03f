import { bundleFormat, type Manifest } from '../bundle/manifest.ts'
import { crcText } from '../bundle/read-bundle.ts'
import { plural } from '../core/units.ts'
import { schemaVersion } from '../epoch/epoch.ts'
import type { Snapshot, Store } from '../store/store.ts'
import { type CatalogueEntry, countsOf } from './catalogue.ts'
import type { Dump } from './dump-store.ts'
import type { BackupParts, CapturedKeys } from './parts.ts'

interface DescribeInput {
  parts: BackupParts
  store: Store
  point: Snapshot
  method: Manifest['point_in_time']['method']
  dump: Dump
  keys: CapturedKeys
  previous: CatalogueEntry | undefined
  members: Manifest['members']
}

/** The manifest, from what was captured and not from what is live. */
export function describeBundle(input: DescribeInput): Manifest {
  const { parts, store, point, dump } = input
  const install = dump.small.get('kek_install')?.[0]
  const epoch = dump.small.get('epochs')?.[0]
  const head = dump.small.get('audit_head')?.[0]
  const collections = point.collections.map(({ name, type }) => {
    const end = dump.ends.find((candidate) => candidate.collection === name)
    return { name, type, count: end?.count ?? 0, bytes: end?.bytes ?? 0, crc64: crcText(end?.crc ?? 0n) }
  })
  const manifest: Manifest = {
    format: bundleFormat,
    app_version: parts.appVersion,
    schema_version: Number(epoch?.schema_version ?? schemaVersion),
    installation_id: String(install?.installation_id ?? input.keys.installationId ?? ''),
    created_at: parts.clock.now().toISOString(),
    store: { engine: store.engine, server_version: point.serverVersion, database: store.databaseName },
    point_in_time: {
      method: input.method,
      way: point.way,
      taken_at: point.takenAt.toISOString(),
      read_until: parts.clock.now().toISOString(),
      cluster_time: point.clusterTime,
      is_proven: true,
    },
    epoch: Number(epoch?.epoch ?? 0),
    collections,
    members: input.members,
    kek: kekSection(input),
    audit: { seq: Number(head?.seq ?? 0), hmac: String(head?.hmac ?? '') },
    suspect: '',
  }
  return { ...manifest, suspect: suspicion(manifest, input.previous, parts.config['backup.max_count_drop_percent']) }
}

function kekSection({ dump, keys }: DescribeInput): Manifest['kek'] {
  const documents = dump.small.get('kek_versions') ?? []
  const versions = documents.map((document) => {
    const version = Number(document.version)
    const counts = dump.proof.versions[version] ?? { total: 0, opened: 0 }
    return { version, fingerprint: String(document.fingerprint), envelopes: counts.total, opened: counts.opened }
  })
  const active = documents.find((document) => document.state === 'active')
  return { provider: keys.provider.name, active_version: Number(active?.version ?? 0), versions }
}

/** A count that fell by more than the limit since the bundle before, or a collection that is gone. */
function suspicion(manifest: Manifest, previous: CatalogueEntry | undefined, maxDropPercent: number): string {
  const before = previous?.sidecar?.manifest
  if (before === undefined || before.installation_id !== manifest.installation_id) return ''
  const now = countsOf(manifest)
  const watched = ['certificates', 'certificate_private_keys', 'users', 'certificate_authorities']
  const fallen = watched.find((name) => (now[name] ?? 0) < (countsOf(before)[name] ?? 0) * (1 - maxDropPercent / 100))
  if (fallen === undefined) return ''
  return `"${fallen}" fell from ${plural(countsOf(before)[fallen] ?? 0, 'document')} in "${previous?.name}" to ${now[fallen] ?? 0}`
}
