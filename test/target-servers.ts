import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import {
  CreateBucketCommand,
  GetObjectRetentionCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import { BlobServiceClient, type StoragePipelineOptions, StorageSharedKeyCredential } from '@azure/storage-blob'
import { freePort, start } from './acme-servers.ts'
import { findProgram } from './servers.ts'

const user = 'certautopilot-test'
const password = 'not a secret of anybody'

export interface ObjectStore extends AsyncDisposable {
  readonly endpoint: string
  /** What the product is given. */
  readonly credentials: { ACCESS_KEY_ID: string; SECRET_ACCESS_KEY: string }
  createBucket(name: string, options?: { isLocked?: boolean }): Promise<void>
  put(bucket: string, key: string, body: string): Promise<void>
  /** Credentials for so few actions (STS AssumeRole with a policy), as the product is given them. */
  credentialsFor(actions: readonly string[]): Promise<Record<string, string>>
  /** Until when the current version of an object is locked. */
  lockedUntil(bucket: string, key: string): Promise<Date | undefined>
  /** How many versions of each key there are, and until when they are locked. */
  versions(bucket: string): Promise<{ key: string; isMarker: boolean; versionId: string }[]>
  client: S3Client
}

/** A real MinIO, with versioning and object lock. */
export async function startMinio(): Promise<ObjectStore> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-minio-'))
  const [port, consolePort] = [await freePort(), await freePort()]
  const words = ['server', join(folder, 'data'), '--address', `127.0.0.1:${port}`, '--console-address', `127.0.0.1:${consolePort}`]
  const environment = { MINIO_ROOT_USER: user, MINIO_ROOT_PASSWORD: password, HOME: folder }
  const running = await start(findProgram('MINIO') as string, words, { folder, environment, isReady: /^API: / })
  const endpoint = `http://127.0.0.1:${port}`
  const client = new S3Client({
    endpoint,
    forcePathStyle: true,
    region: 'us-east-1',
    credentials: { accessKeyId: user, secretAccessKey: password },
  })
  return {
    endpoint,
    client,
    credentials: { ACCESS_KEY_ID: user, SECRET_ACCESS_KEY: password },
    async createBucket(name, { isLocked = false } = {}) {
      await client.send(new CreateBucketCommand({ Bucket: name, ObjectLockEnabledForBucket: isLocked }))
    },
    async put(bucket, key, body) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }))
    },
    async credentialsFor(actions) {
      const sts = new STSClient({ endpoint, region: 'us-east-1', credentials: { accessKeyId: user, secretAccessKey: password } })
      const Statement = [{ Effect: 'Allow', Action: actions, Resource: ['arn:aws:s3:::*'] }]
      const Policy = JSON.stringify({ Version: '2012-10-17', Statement })
      const { Credentials } = await sts.send(new AssumeRoleCommand({ RoleArn: 'arn:x:y:z', RoleSessionName: 'test', Policy }))
      sts.destroy()
      return {
        ACCESS_KEY_ID: Credentials?.AccessKeyId ?? '',
        SECRET_ACCESS_KEY: Credentials?.SecretAccessKey ?? '',
        SESSION_TOKEN: Credentials?.SessionToken ?? '',
      }
    },
    async lockedUntil(bucket, key) {
      const { Retention } = await client.send(new GetObjectRetentionCommand({ Bucket: bucket, Key: key }))
      return Retention?.RetainUntilDate
    },
    async versions(bucket) {
      const { Versions = [], DeleteMarkers = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: bucket }))
      const shown = (isMarker: boolean) => (version: { Key?: string | undefined; VersionId?: string | undefined }) => ({
        key: version.Key ?? '',
        versionId: version.VersionId ?? '',
        isMarker,
      })
      return [...Versions.map(shown(false)), ...DeleteMarkers.map(shown(true))]
    },
    async [Symbol.asyncDispose]() {
      client.destroy()
      await running[Symbol.asyncDispose]()
    },
  }
}

export interface SshServer extends AsyncDisposable {
  /** `USER@HOST:PORT` */
  readonly address: string
  /** As it is pinned. */
  readonly hostKey: string
  readonly privateKeyFile: string
}

/** A real sshd that lets the present user in with one key, for SFTP only. */
export async function startSshd(): Promise<SshServer> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-sshd-'))
  const port = await freePort()
  for (const name of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)])
  await copyFile(join(folder, 'user.pub'), join(folder, 'authorized'))
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PermitRootLogin prohibit-password',
    'PidFile none',
    'Subsystem sftp internal-sftp',
    'ForceCommand internal-sftp',
  ]
  await writeFile(join(folder, 'config'), `${lines.join('\n')}\n`)
  await mkdir('/run/sshd', { recursive: true })
  const words = ['-D', '-e', '-f', join(folder, 'config')]
  const running = await start(findProgram('SSHD') as string, words, { folder, isReady: /Server listening/ })
  const shown = execFileSync('ssh-keygen', ['-lf', join(folder, 'host.pub')]).toString()
  return {
    address: `${userInfo().username}@127.0.0.1:${port}`,
    hostKey: shown.match(/SHA256:\S+/)?.[0] as string,
    privateKeyFile: join(folder, 'user'),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

export type ProxyFault = 'none' | 'cut uploads' | 'flip downloads' | 'hang up'

export interface FaultyProxy extends AsyncDisposable {
  readonly port: number
  fault: ProxyFault
}

/** Stands between a client and a server, and does what networks do. */
export async function startProxy(toPort: number): Promise<FaultyProxy> {
  const sockets = new Set<Socket>()
  const proxy = { fault: 'none' as ProxyFault }
  const server = createTcpServer((client) => {
    if (proxy.fault === 'hang up') return void client.destroy()
    const upstream = connect(toPort, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket
        .on('error', () => {})
        .once('close', () => {
          client.destroy()
          upstream.destroy()
        })
    }
    let sent = 0
    client.on('data', (chunk: Buffer) => {
      sent += chunk.length
      if (proxy.fault === 'cut uploads' && sent > 20_000) client.destroy()
      else upstream.write(chunk)
    })
    upstream.on('data', (chunk: Buffer) => {
      const isBody = chunk.length > 4_000
      if (proxy.fault === 'flip downloads' && isBody) chunk[chunk.length - 100] = (chunk[chunk.length - 100] as number) ^ 1
      client.write(chunk)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(proxy, {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}

export interface BlobServer extends AsyncDisposable {
  readonly endpoint: string
  readonly account: string
  readonly key: string
}

/** The account that every Azurite has; its key is published by its makers. */
const azuriteAccount = 'devstoreaccount1'
const azuriteKey = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='

/** A real Azurite with one container. @param tls files of a certificate for 127.0.0.1: the server then speaks HTTPS, and takes the tokens of identities */
export async function startAzurite(container: string, tls?: { cert: string; key: string }): Promise<BlobServer> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-azurite-'))
  const port = await freePort()
  const words = [
    findProgram('AZURITE') as string,
    '--location',
    folder,
    '--blobPort',
    String(port),
    '--skipApiVersionCheck',
    '--disableTelemetry',
    ...(tls === undefined ? [] : ['--oauth', 'basic', '--cert', tls.cert, '--key', tls.key]),
  ]
  const running = await start(process.execPath, words, { folder, isReady: /successfully listen/ })
  const endpoint = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/${azuriteAccount}`
  const credential = new StorageSharedKeyCredential(azuriteAccount, azuriteKey)
  // Passed on to the transport, though the library does not declare it.
  const options = (tls === undefined ? {} : { tlsOptions: { ca: await readFile(tls.cert) } }) as StoragePipelineOptions
  await new BlobServiceClient(endpoint, credential, options).createContainer(container)
  return { endpoint, account: azuriteAccount, key: azuriteKey, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() }
}
