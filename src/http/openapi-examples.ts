/** A believable value per name of a field; what is not named here follows from its schema. */
const byName: Readonly<Record<string, unknown>> = {
  _id: '06h0sv1pxc0017cztg3f1sstqg',
  account: 'letsencrypt',
  account_url: 'https://acme-v02.api.letsencrypt.org/acme/acct/1234567',
  add: ['edge'],
  bundle: 'certautopilot-backup-20261123-031502.tar.age',
  ca: 'Internal',
  certificate_pem: '-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n',
  chain_pem: '-----BEGIN CERTIFICATE-----\nMIIC...\n-----END CERTIFICATE-----\n',
  code: 'not-found',
  csr_pem: '-----BEGIN CERTIFICATE REQUEST-----\nMIIB...\n-----END CERTIFICATE REQUEST-----\n',
  database: 'certautopilot',
  day: '2026-12-24',
  days: 90,
  directory_url: 'https://acme-v02.api.letsencrypt.org/directory',
  domain: 'www.example.org',
  email: 'ops@example.org',
  engine: 'embedded',
  error: '',
  event: 'certificate.renewed',
  failure: '',
  fingerprint: '3f1c0a9b5d7e2f4860a1b2c3d4e5f60718293a4b5c6d7e8f9001122334455667',
  host: 'cap-1',
  issuer: 'Internal intermediate',
  key: 'cap_4q9z...',
  key_type: 'EC P-256',
  kind: 'managed',
  kit: 'AGE-SECRET-KEY-1...',
  last_error: '',
  mode: 'all',
  name: 'www.example.org',
  names: ['www.example.org', 'example.org'],
  next_cursor: null,
  outcome: 'passed',
  passphrase: 'correct horse battery staple',
  password: 'correct horse battery staple',
  path: '/var/lib/certautopilot/certautopilot-recovery-kit.txt',
  pem: '-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n',
  pkcs12: 'MIIBBQIBAzCB',
  prefix: 'cap_4q9z2x',
  profile: '',
  project: 'default',
  provider: 'rfc2136',
  probe_error: '',
  remove: ['staging'],
  renewal_error: '',
  renewal_state: '',
  safe_mode_reason: '',
  sans: ['www.example.org', 'example.org'],
  serial: '5b2f7c19aa03de41',
  settings: { url: 'https://hooks.example.org' },
  subject: '06h0sv1pxc0017cztg3f1sstqg',
  tags: ['edge', 'prod'],
  target: 'nginx',
  text: 'asking CA "Internal" for "www.example.org"',
  token: '8f3k2m...',
  validity_days: 90,
  verified_level: 'full',
  version: '0.1.0',
  zone: 'example.org',
}

interface Described {
  type?: string | string[]
  const?: unknown
  default?: unknown
  enum?: unknown[]
  format?: string
  minimum?: number
  anyOf?: Described[]
  items?: Described
  properties?: Record<string, Described>
}

/** What a value of this JSON Schema could look like. */
export function exampleOf(schema: Described, name = ''): unknown {
  if (schema.const !== undefined) return schema.const
  if (schema.enum !== undefined) return schema.enum.includes(byName[name]) ? byName[name] : schema.enum[0]
  if (schema.properties !== undefined) {
    const members = Object.entries(schema.properties)
    return Object.fromEntries(members.map(([member, described]) => [member, exampleOf(described, member)]))
  }
  if (fits(schema, byName[name])) return byName[name]
  if (schema.items !== undefined) return [exampleOf(schema.items, singular(name))]
  const branch = schema.anyOf?.[0]
  if (branch !== undefined) return exampleOf(branch, name)
  if (schema.default !== undefined) return schema.default
  if (schema.format === 'date-time' || /(_at|_until|_to|^at|^since)$/.test(name)) return '2026-11-23T03:15:02.000Z'
  return plainExample(schema, name)
}

function plainExample({ type, minimum }: Described, name: string): unknown {
  const kind = Array.isArray(type) ? type[0] : type
  if (kind === 'integer' || kind === 'number') return Math.max(minimum ?? 1, 1)
  if (kind === 'boolean') return false
  if (kind === 'object') return {}
  return name.endsWith('id') ? byName._id : name
}

function fits({ type, format }: Described, value: unknown): boolean {
  if (value === undefined || format === 'date-time') return false
  const kinds = Array.isArray(type) ? type : [type]
  if (value === null) return kinds.includes('null')
  if (Array.isArray(value)) return kinds.includes('array')
  if (typeof value === 'number') return kinds.includes('number') || kinds.includes('integer')
  return kinds.includes(typeof value)
}

function singular(name: string): string {
  return name.replace(/s$/, '')
}
