import { type ChildProcess, spawn } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createCa } from '../src/issuer/internal-ca/create-ca.ts'
import { openInternalCa } from '../src/issuer/internal-ca/issuer.ts'
import { findProgram } from './servers.ts'

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

export interface Running extends AsyncDisposable {
  readonly output: string[]
}

/** Starts a program and waits until a line of its output matches. */
export async function start(
  program: string,
  words: string[],
  options: { folder: string; environment?: Record<string, string>; isReady: RegExp },
): Promise<Running> {
  const env = { PATH: process.env.PATH ?? '', ...options.environment }
  const child: ChildProcess = spawn(program, words, { cwd: options.folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const output: string[] = []
  const ready = new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}: ${output.join('\n')}`)))
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue
      createInterface({ input: stream }).on('line', (line) => {
        output.push(line)
        if (options.isReady.test(line)) resolve()
      })
    }
  })
  await ready
  return {
    output,
    async [Symbol.asyncDispose]() {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
      child.kill('SIGKILL')
      await exited
      await rm(options.folder, { recursive: true, force: true })
    },
  }
}

export interface Pebble extends AsyncDisposable {
  readonly directoryUrl: string
  /** Where it asks for HTTP-01. */
  readonly httpPort: number
  /** PEM file that its own TLS certificate leads to. */
  readonly trustAnchors: string
  /** What it has printed. */
  readonly output: readonly string[]
  /** How many certificates it has issued so far. */
  issued(): number
  /** Changes when it suggests a renewal (RFC 9773) for a certificate. */
  suggestRenewal(certificatePem: string, window: { start: Date; end: Date }): Promise<void>
}

export interface PebbleOptions {
  dnsPort: number
  isStrict?: boolean
  /** It offers a second profile; who names none gets any of them. */
  hasProfiles?: boolean
  externalAccounts?: Record<string, string>
  environment?: Record<string, string>
}

/** A real ACME CA for tests, validating, with its 5 % of bad nonces. */
export async function startPebble(options: PebbleOptions): Promise<Pebble> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-pebble-'))
  const [port, managementPort, httpPort, tlsPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const trustAnchors = await writeServerCertificate(folder)
  const config = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${managementPort}`,
    certificate: join(folder, 'cert.pem'),
    privateKey: join(folder, 'key.pem'),
    httpPort,
    tlsPort,
    ocspResponderURL: '',
    externalAccountBindingRequired: options.externalAccounts !== undefined,
    externalAccountMACKeys: options.externalAccounts ?? {},
    domainBlocklist: ['blocked.test'],
    retryAfter: { authz: 1, order: 1 },
    keyAlgorithm: 'ecdsa',
    profiles: {
      default: { description: 'ninety days', validityPeriod: 7_776_000 },
      ...(options.hasProfiles ? { shortlived: { description: 'six days', validityPeriod: 518_400 } } : {}),
    },
  }
  await writeFile(join(folder, 'config.json'), JSON.stringify({ pebble: config }))
  const words = ['-config', join(folder, 'config.json'), '-dnsserver', `127.0.0.1:${options.dnsPort}`]
  const running = await start(findProgram('PEBBLE') as string, options.isStrict ? [...words, '-strict'] : words, {
    folder,
    environment: { PEBBLE_VA_NOSLEEP: '1', ...options.environment },
    isReady: /ACME directory available/,
  })
  return {
    directoryUrl: `https://127.0.0.1:${port}/dir`,
    httpPort,
    trustAnchors,
    output: running.output,
    issued: () => running.output.filter((line) => /Issued certificate serial/.test(line)).length,
    async suggestRenewal(certificatePem, { start: from, end }) {
      const ca = await readFile(trustAnchors)
      const ariResponse = JSON.stringify({ suggestedWindow: { start: from.toISOString(), end: end.toISOString() } })
      const body = JSON.stringify({ certificate: certificatePem, ariResponse })
      const asked = request(`https://127.0.0.1:${managementPort}/set-renewal-info/`, {
        method: 'POST',
        ca,
        headers: { 'user-agent': 'tests' },
      })
      asked.end(body)
      const [response] = (await once(asked, 'response')) as [IncomingMessage]
      const text = Buffer.concat((await Array.fromAsync(response)) as Buffer[]).toString()
      if (response.statusCode !== 200) throw new Error(`set-renewal-info answered ${response.statusCode}: ${text}`)
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

async function writeServerCertificate(folder: string): Promise<string> {
  const now = new Date()
  const { root, intermediate } = await createCa('tests', now)
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issued = await openInternalCa(intermediate, 'http://127.0.0.1/crl').issue({
    publicKey: publicKey.export({ format: 'der', type: 'spki' }),
    commonName: 'localhost',
    sans: ['localhost', '127.0.0.1'],
    notBefore: new Date(now.getTime() - 3_600_000),
    notAfter: new Date(now.getTime() + 86_400_000),
  })
  await writeFile(join(folder, 'cert.pem'), `${issued.certificatePem}\n${issued.chainPem}\n`)
  const key = createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' }))
  await writeFile(join(folder, 'key.pem'), key.export({ format: 'pem', type: 'pkcs8' }))
  const anchors = join(folder, 'root.pem')
  await writeFile(anchors, root.certificatePem)
  return anchors
}

export interface Bind extends AsyncDisposable {
  readonly port: number
  readonly keyName: string
  readonly secret: string
}

/** A real name server. It serves `example.test`, which a key may change and where every name is at 127.0.0.1, and `alias.test`. */
export async function startBind(): Promise<Bind> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-bind-'))
  const port = await freePort()
  const secret = Buffer.from('a secret of thirty-two bytes ...').toString('base64')
  const soa = (zone: string) =>
    `$TTL 60\n@ IN SOA ns.${zone}. admin.${zone}. 1 60 60 600 60\n@ IN NS ns.${zone}.\nns IN A 127.0.0.1\n@ IN A 127.0.0.1\n* IN A 127.0.0.1\n`
  await writeFile(join(folder, 'example.test.zone'), soa('example.test'))
  await writeFile(
    join(folder, 'alias.test.zone'),
    `${soa('alias.test')}_acme-challenge.www IN CNAME www-alias.challenges.example.test.\nwww IN A 127.0.0.1\n`,
  )
  await writeFile(
    join(folder, 'named.conf'),
    `options { directory "${folder}"; listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none;
  session-keyfile none; recursion yes; allow-recursion { 127.0.0.1; }; allow-query { any; }; dnssec-validation no; };
controls { };
key "acme-key" { algorithm hmac-sha256; secret "${secret}"; };
zone "example.test" { type primary; file "example.test.zone"; allow-update { key "acme-key"; }; };
zone "alias.test" { type primary; file "alias.test.zone"; };
`,
  )
  const running = await start(findProgram('NAMED') as string, ['-g', '-c', join(folder, 'named.conf')], {
    folder,
    isReady: /\brunning$/,
  })
  return { port, keyName: 'acme-key', secret, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() }
}
