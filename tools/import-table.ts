/** Which nouns a noun may import. Each names only nouns above it. Files directly under `src/` may import everything. */
export const imports: Record<string, readonly string[]> = {
  core: [],
  document: ['core'],
  config: ['core'],
  archive: ['core', 'document'],
  store: ['core', 'document', 'archive'],
  kek: ['core', 'document', 'store'],
  audit: ['core', 'store'],
  epoch: ['core', 'store', 'audit'],
  jobs: ['core', 'store', 'audit'],
  access: ['core', 'store', 'audit'],
  issuer: ['core'],
  certificates: ['core', 'store', 'kek', 'audit', 'jobs', 'issuer'],
  bundle: ['core', 'document', 'archive'],
  'secret-store': ['core', 'config'],
  backup: ['core', 'document', 'config', 'archive', 'store', 'kek', 'audit', 'epoch', 'jobs', 'bundle', 'secret-store'],
  http: ['core', 'config', 'store', 'kek', 'audit', 'epoch', 'jobs', 'access', 'issuer', 'certificates', 'bundle', 'backup'],
  cli: ['core', 'config', 'store', 'kek', 'audit', 'epoch', 'bundle', 'backup'],
}

/** The one folder that imports a package. `bson`, `zod` and `@peculiar/x509` are value libraries. */
export const packages: Record<string, readonly string[]> = {
  bson: ['anywhere'],
  zod: ['http'],
  mongodb: ['store/mongodb'],
  'hash-wasm': ['archive'],
  'age-encryption': ['bundle'],
  'tar-stream': ['bundle'],
  '@peculiar/x509': ['issuer', 'certificates'],
  'reflect-metadata': ['issuer', 'certificates'],
  pkijs: ['certificates'],
  asn1js: ['certificates'],
  fastify: ['http'],
  'prom-client': ['http'],
  pino: ['src'],
  yaml: ['config', 'backup', 'src'],
}
