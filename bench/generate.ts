import { randomBytes } from 'node:crypto'
import { serialize } from 'bson'
import type { Certificate, PrivateKey } from '../src/certificates/collections.ts'
import { notFromAcme, renewalWorks } from '../src/certificates/describe.ts'
import type { Host } from '../src/host.ts'
import { collections, keysIn } from '../src/host.ts'
import { buildRegistry, type KekRegistry } from '../src/kek/registry.ts'
import { declaredInfo } from '../src/store/embedded/tables.ts'
import type { Store } from '../src/store/store.ts'

const perBlock = 250
const dayMs = 86_400_000

/**
 * Fills the database of a host: per certificate a document of at least 3.5 kB, with keys, serials and signatures that do not compress, and
 * a private key in an envelope. What is made is durable and indexed.
 */
export async function fillStore(host: Host, count: number): Promise<void> {
  await using exchange = await host.backup.openExchange()
  const staging = await exchange.stage('generated', collections)
  for (const spec of collections) await staging.createCollection(declaredInfo(spec))
  const kek = await sealer(host)
  for (let start = 0; start < count; start += perBlock) {
    const block = Array.from({ length: Math.min(perBlock, count - start) }, (_, n) => documentsOf(start + n, kek.registry))
    await staging.load('certificates', Buffer.concat(block.map(({ certificate }) => certificate)))
    await staging.load('certificate_private_keys', Buffer.concat(block.map(({ key }) => key)))
  }
  for (const [name, documents] of kek.documents) await staging.load(name, documents)
  await staging.finish()
  await exchange.cutOver('generated')
  await exchange.forget('generated')
}

/** Keys of the host, and the documents of a new database that belong to them. */
async function sealer(host: Host): Promise<{ registry: KekRegistry; documents: Map<string, Buffer> }> {
  const content = await host.backup.secretStore.capture()
  const { provider, installationId } = keysIn(content)
  const inserted = new Map<string, Buffer>()
  const recording = {
    get: async () => undefined,
    find: async (name: string) => ({ items: name === 'kek_versions' ? [kekVersion] : [], nextCursor: undefined }),
    commit: async (changes: { insert: string; document: { _id: string } }[]) => {
      for (const { insert, document } of changes) inserted.set(insert, Buffer.from(serialize(document)))
      kekVersion = changes[1]?.document
    },
  }
  let kekVersion: unknown
  const registry = await buildRegistry(
    { store: recording as unknown as Store, provider, clock: host.clock, collections: [] },
    installationId,
  )
  return { registry, documents: inserted }
}

function documentsOf(n: number, kek: KekRegistry): { certificate: Buffer; key: Buffer } {
  const id = `cert${String(n).padStart(9, '0')}`
  const keyId = `key${String(n).padStart(9, '0')}`
  const serial = randomBytes(16).toString('hex')
  const name = `host-${n}.example-${n % 997}.org`
  const now = Date.now()
  const notAfter = new Date(now + ((n * 7919) % 90) * dayMs + (n % 86_400) * 1000)
  const certificate: Certificate = {
    _id: id,
    project_id: `project${n % 20}`,
    name,
    sans: [name, `www.${name}`],
    kind: 'managed',
    status: 'active',
    ca_id: 'ca',
    ...notFromAcme,
    ...renewalWorks,
    issuer: 'Bench intermediate',
    serial,
    fingerprint: randomBytes(32).toString('hex'),
    key_type: 'EC P-256',
    not_before: new Date(now),
    not_after: notAfter,
    certificate_pem: pem(leafDer(n)),
    chain_pem: chains[n % chains.length] as string,
    key_id: keyId,
    previous_key_id: '',
    auto_renew: true,
    next_renewal_at: new Date(now + 365 * dayMs),
    validity_days: 90,
    search: `${name} www.${name} bench intermediate ${serial}`,
    created_at: new Date(now),
  }
  const encrypted_key = kek.seal(
    { collection: 'certificate_private_keys', recordId: keyId, field: 'encrypted_key' },
    randomBytes(138),
  )
  const key: PrivateKey = {
    _id: keyId,
    certificate_id: id,
    encrypted_key,
    kek_version: kek.activeVersion,
    created_at: new Date(now),
  }
  return { certificate: Buffer.from(serialize(certificate)), key: Buffer.from(serialize(key)) }
}

/** An RSA certificate in DER: names, OIDs and URLs are the same within a CA, of which there are four; serial, key and signature are random. */
const templates = Array.from({ length: 4 }, () => randomBytes(1240))
const randomParts = [
  { start: 15, bytes: 16 },
  { start: 210, bytes: 256 },
  { start: 500, bytes: 20 },
  { start: 980, bytes: 256 },
]
const chains = templates.map(() => pem(randomBytes(1100)))

function leafDer(n: number): Buffer {
  const der = Buffer.from(templates[n % templates.length] as Buffer)
  for (const { start, bytes } of randomParts) randomBytes(bytes).copy(der, start)
  return der
}

function pem(der: Buffer): string {
  return `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`
}
