import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ListMultipartUploadsCommand, ListPartsCommand } from '@aws-sdk/client-s3'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { type MongoProxy, startMongoProxy, type Verdict } from '../mongo-proxy.ts'
import { needs, startMongo } from '../servers.ts'
import { type BlobServer, type ObjectStore, startAzurite, startMinio, startSshd } from '../target-servers.ts'
import { mongoEnvironment, newHost, type TestHost, until } from '../test-host.ts'

const names = ['nas', 'box', 'vault', 'blob']
const megabyte = 1024 * 1024

test(
  'a copy is on its way while the database is read, and seen nowhere before its bundle has proved itself',
  needs('SECANTUSD', 'MINIO', 'SSHD', 'AZURITE'),
  async (t) => {
    await using server = await startMongo()
    await using proxy = await startMongoProxy(server.port)
    await using minio = await startMinio()
    await using azurite = await startAzurite('vault')
    await using sshd = await startSshd()
    const [nas, box] = [await folderOf(t), await folderOf(t)]
    let bundle = ''
    const there = () => arrived(minio, azurite, [nas, box], bundle)
    await minio.createBucket('vault', { isLocked: true })
    await using host = await newHost({
      ...mongoEnvironment(server.uri),
      CERTAUTOPILOT_BACKUP_TARGETS: [
        `nas=disk://${nas}`,
        `box=sftp://${sshd.address}${box}?host_key=${encodeURIComponent(sshd.hostKey)}`,
        `vault=s3://vault?endpoint=${minio.endpoint}&lock_mode=governance&lock_days=1`,
        `blob=azure-blob://${azurite.account}/vault?endpoint=${azurite.endpoint}`,
      ].join(','),
      CAP_TARGET_BOX_PRIVATE_KEY_FILE: sshd.privateKeyFile,
      CAP_TARGET_VAULT_ACCESS_KEY_ID: minio.credentials.ACCESS_KEY_ID,
      CAP_TARGET_VAULT_SECRET_ACCESS_KEY: minio.credentials.SECRET_ACCESS_KEY,
      CAP_TARGET_BLOB_ACCOUNT_KEY: azurite.key,
    })
    await host.furnish(2)
    await fill(host)

    const held = Promise.withResolvers<undefined>()
    const good = created(host, proxy, held.promise)
    await until(async () => (await there()).every(({ bytes }) => bytes > 2 * megabyte), 'a part of the copy is at every target')
    for (const { seen } of await there()) assert.deepEqual(seen, [], 'nothing is seen there yet')
    held.resolve(undefined)
    const { exitCode, said } = await good
    assert.equal(exitCode, 0, said)
    bundle = said.match(/"bundle":"([^"]+)"/)?.[1] as string
    for (const { seen, bytes } of await there()) {
      assert.deepEqual(seen.sort(), [bundle, `${bundle}.manifest.json`])
      assert.equal(bytes, 0, 'nothing half is left there')
    }
    assert.ok(
      ((await minio.lockedUntil('vault', bundle))?.getTime() ?? 0) > Date.now() + 86_000_000,
      'locked with the upload itself',
    )
    const kit = ['--identity', host.paths.recoveryKit]
    for (const name of names) await host.ok('backup', 'verify', bundle, '--from', name, ...kit)

    const cut = Promise.withResolvers<'cut'>()
    const bad = created(host, proxy, cut.promise)
    await until(
      async () => (await there()).every(({ bytes }) => bytes > 2 * megabyte),
      'a part of the second copy is at every target',
    )
    cut.resolve('cut')
    assert.equal((await bad).exitCode, 28)
    for (const { seen, bytes, keepsHalves } of await there()) {
      assert.deepEqual(seen.sort(), [bundle, `${bundle}.manifest.json`], 'only what was there before')
      if (!keepsHalves) assert.equal(bytes, 0, 'nothing half is left there')
    }

    await spoilKey(host)
    assert.equal((await created(host, proxy, Promise.resolve(undefined))).exitCode, 20)
    for (const { seen } of await there())
      assert.deepEqual(seen.sort(), [bundle, `${bundle}.manifest.json`], 'what does not open was sent, and is seen nowhere')
  },
)

test('a backup that fails says so at once, although a target that it is copied to is silent', async (t) => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.after(() => void silent.close().closeAllConnections())
  const endpoint = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  await using host = await newHost({
    CERTAUTOPILOT_BACKUP_TARGETS: `vault=s3://vault?endpoint=${endpoint}`,
    CAP_TARGET_VAULT_ACCESS_KEY_ID: 'nobody',
    CAP_TARGET_VAULT_SECRET_ACCESS_KEY: 'nothing',
  })
  await host.furnish(1)
  await fill(host)
  await spoilKey(host)
  const started = Date.now()
  const { exitCode, stdout, stderr } = await host.cli('backup', 'create')
  assert.equal(exitCode, 20, stdout + stderr)
  assert.ok(Date.now() - started < 30_000, 'the target may be silent for 60 s, and is asked five times')
})

interface Arrived {
  /** What a reader sees there. */
  seen: string[]
  /** What is there of files that are not whole. */
  bytes: number
  half: string[]
  /** Parts that nobody asks for any more go by themselves, later. */
  keepsHalves: boolean
}

async function arrived(minio: ObjectStore, azurite: BlobServer, folders: readonly string[], bundle: string): Promise<Arrived[]> {
  const blobs = await inContainer(azurite)
  return [...(await Promise.all(folders.map(inFolder))), await inBucket(minio, [...blobs.half, bundle]), blobs]
}

async function inFolder(folder: string): Promise<Arrived> {
  const files = await readdir(folder)
  const sizes = await Promise.all(files.filter((name) => name.startsWith('.')).map((name) => stat(join(folder, name))))
  return {
    seen: files.filter((name) => !name.startsWith('.')),
    half: files.filter((name) => name.startsWith('.')),
    bytes: sizes.reduce((sum, { size }) => sum + size, 0),
    keepsHalves: false,
  }
}

/** MinIO lists the uploads of a key that is named whole, and no others. */
async function inBucket({ client, versions }: ObjectStore, half: string[]): Promise<Arrived> {
  let bytes = 0
  for (const Prefix of half) {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: 'vault', Prefix }))
    for (const { Key, UploadId } of Uploads) {
      const { Parts = [] } = await client.send(new ListPartsCommand({ Bucket: 'vault', Key, UploadId }))
      bytes += Parts.reduce((sum, { Size = 0 }) => sum + Size, 0)
    }
  }
  return { seen: (await versions('vault')).map(({ key }) => key), half, bytes, keepsHalves: false }
}

async function inContainer({ endpoint, account, key }: BlobServer): Promise<Arrived> {
  const container = new BlobServiceClient(endpoint, new StorageSharedKeyCredential(account, key)).getContainerClient('vault')
  const seen: string[] = []
  for await (const { name } of container.listBlobsFlat()) seen.push(name)
  let bytes = 0
  const half: string[] = []
  for await (const { name } of container.listBlobsFlat({ includeUncommitedBlobs: true })) {
    if (seen.includes(name)) continue
    half.push(name)
    const { uncommittedBlocks = [] } = await container.getBlockBlobClient(name).getBlockList('uncommitted')
    bytes += uncommittedBlocks.reduce((sum, { size }) => sum + size, 0)
  }
  return { seen, half, bytes, keepsHalves: true }
}

/** Takes a backup whose dump does not go on at a late collection until something happens. */
async function created(host: TestHost, proxy: MongoProxy, event: Promise<Verdict>) {
  proxy.judge = ({ find }) => (find === 'projects' ? event : undefined)
  const child = host.spawn(['backup', 'create', '--json'], { CERTAUTOPILOT_DATABASE_URI: proxy.uri })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [exitCode] = (await once(child, 'close')) as [number]
  return { exitCode, said }
}

/** Makes an envelope one that does not open. */
async function spoilKey(host: TestHost): Promise<void> {
  await host.withStore(async (store) => {
    const [key] = (await store.find<{ _id: string }>('certificate_private_keys')).items
    await store.commit([{ replace: 'certificate_private_keys', document: { ...key, encrypted_key: 'spoilt' } as never }])
  })
}

/** So much that a large part of it has been written when the last collections are read. */
async function fill(host: TestHost): Promise<void> {
  const expires_at = new Date(Date.now() + 3_600_000)
  const text = () => randomBytes(15_000).toString('base64')
  await host.withStore(async (store) => {
    for (let n = 0; n < 2500; n += 500) {
      const documents = Array.from({ length: 500 }, (_, m) => ({ _id: `filler-${n + m}`, text: text(), expires_at }))
      await store.commit(documents.map((document) => ({ insert: 'idempotency_keys', document })) as never)
    }
  })
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-target-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}
