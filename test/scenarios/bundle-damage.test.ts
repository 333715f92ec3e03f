import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFile, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { verifyBackup } from '../../src/backup/verify-backup.ts'
import { newIdentity } from '../../src/bundle/age-keys.ts'
import { openSealedStream, sealWrapping } from '../../src/bundle/age-stream.ts'
import { readBundle } from '../../src/bundle/read-bundle.ts'
import { headUnit, type Wrapping } from '../../src/bundle/wrapping.ts'
import { openHost } from '../../src/host.ts'
import { findProgram, needs } from '../servers.ts'
import { newHost, type TestHost } from '../test-host.ts'

let host: TestHost
let bundle: Buffer
let name: string

before(async () => {
  host = await newHost()
  await host.furnish(2)
  name = await host.backup()
  bundle = await readFile(join(host.paths.backups, name))
  await host.stop()
})
after(() => host[Symbol.asyncDispose]())

async function codeOf(bytes: Buffer): Promise<string | undefined> {
  const path = join(host.home, 'damaged.tar.age')
  await writeFile(path, bytes)
  const { backup } = openHost({ CERTAUTOPILOT_HOME: host.home })
  const input = { bundle: path, level: 'full', identities: await backup.host.identities(), acceptForeign: false } as const
  return verifyBackup(backup, input).then(
    () => undefined,
    (error: { code?: string }) => error.code ?? String(error),
  )
}

test('the bundle itself is good', async () => {
  assert.equal(await codeOf(bundle), undefined)
})

test('a bundle cut anywhere is refused as corrupt', async () => {
  for (let cut = 0; cut < bundle.length; cut += Math.ceil(bundle.length / 40))
    assert.equal(await codeOf(bundle.subarray(0, cut)), 'corrupt', `cut at ${cut}`)
  assert.equal(await codeOf(bundle.subarray(0, bundle.length - 1)), 'corrupt')
})

test('a bundle flipped anywhere is refused', async () => {
  for (let n = 0; n < 60; n++) {
    const position = Math.floor((n / 60) * bundle.length)
    const flipped = Buffer.from(bundle)
    flipped[position] = (flipped[position] as number) ^ (1 << (n % 8))
    const code = await codeOf(flipped)
    assert.ok(code === 'corrupt' || code === 'wrong-identity', `flip at ${position}: ${code}`)
  }
})

test('the same damage in front of a restore changes nothing, and exits with 23', async () => {
  const path = join(host.home, 'cut.tar.age')
  await writeFile(path, bundle.subarray(0, -500))
  const before = await documents()
  const run = await host.cli('restore', 'apply', path)
  assert.equal(run.exitCode, 23, run.stderr)
  assert.deepEqual(await documents(), before)
  assert.deepEqual(
    (await readdir(join(host.home, 'data'))).filter((file) => file.startsWith('staged')),
    [],
  )
})

async function documents(): Promise<string[]> {
  return host.withStore(async (store) => {
    await using point = await store.snapshot()
    const all = point.collections.map(
      async ({ name }) => `${name} ${Buffer.concat(await Array.fromAsync(point.read(name))).toString('base64')}`,
    )
    return Promise.all(all)
  })
}

test('a bundle that is sealed for somebody else exits with 12, not as corrupt', async () => {
  const { identity } = await newIdentity()
  const kit = join(host.home, 'other-kit.txt')
  await writeFile(kit, `${identity.reveal()}\n`)
  const run = await host.cli('backup', 'verify', name, '--identity', kit)
  assert.equal(run.exitCode, 12)
  assert.match(run.stderr, /somebody else/)
})

test('a bundle of an unknown signer exits with 24, unless it is accepted', async () => {
  await using other = await newHost()
  await other.ok('setup')
  await copyFile(host.paths.recoveryKit, join(other.home, 'kit.txt'))
  const kit = (await readFile(host.paths.recoveryKit, 'utf8')).match(/AGE-SECRET-KEY-1\S+/)?.[0] as string
  await writeFile(join(other.home, 'bare.txt'), `${kit}\n`)
  const path = join(host.paths.backups, name)
  const refused = await other.cli('restore', 'apply', path, '--identity', join(other.home, 'bare.txt'))
  assert.equal(refused.exitCode, 24, refused.stderr)
  assert.match(refused.stderr, /not known here/)
  await other.ok('restore', 'apply', path, '--identity', join(other.home, 'bare.txt'), '--accept-foreign')
})

test('the host identity is no recovery kit, and a bundle that fails its verification is not good any more', async () => {
  const wrong = await host.cli('backup', 'key', 'test', '--identity', host.paths.hostIdentity)
  assert.equal(wrong.exitCode, 12, wrong.stderr)
  await host.ok('backup', 'key', 'test', '--identity', host.paths.recoveryKit)
  const path = join(host.paths.backups, name)
  await writeFile(path, bundle.subarray(0, -100))
  assert.equal((await host.cli('backup', 'verify', name)).exitCode, 23)
  assert.match((await host.ok('backup', 'list')).stdout, /FAILED its verification/)
  await writeFile(path, bundle)
  await host.ok('backup', 'verify', name)
  assert.doesNotMatch((await host.ok('backup', 'list')).stdout, /FAILED/)
})

test('files that our reader would refuse stop a backup before it is made', async () => {
  const { mkdir } = await import('node:fs/promises')
  await mkdir(host.paths.tls)
  await writeFile(join(host.paths.tls, 'odd\\name.pem'), 'x')
  const run = await host.cli('backup', 'create')
  assert.equal(run.exitCode, 24, run.stderr)
  await rm(host.paths.tls, { recursive: true })
  await mkdir(host.paths.tls)
  await symlink('.', join(host.paths.tls, 'loop'))
  assert.match((await host.cli('backup', 'create')).stderr, /leads back/)
  await rm(host.paths.tls, { recursive: true })
})

test('a missing bundle exits with 10, a wrong flag with 2', async () => {
  assert.equal((await host.cli('backup', 'verify', 'certautopilot-backup-20200101-000000.tar.age')).exitCode, 10)
  assert.equal((await host.cli('backup', 'verify', '--nonsense')).exitCode, 2)
  assert.equal((await host.cli('nonsense')).exitCode, 2)
})

type Entry = { name: string; type?: 'file' | 'symlink' | 'link' | 'character-device'; linkname?: string; content?: string }
const hostile: [what: string, entries: Entry[]][] = [
  ['a parent path', [{ name: '../secrets.env', content: 'x' }]],
  ['a parent path inside', [{ name: 'tls/../../x', content: 'x' }]],
  ['an absolute path', [{ name: '/etc/passwd', content: 'x' }]],
  ['a symbolic link', [{ name: 'tls/key.pem', type: 'symlink', linkname: '/etc/shadow' }]],
  ['a hard link', [{ name: 'tls/key.pem', type: 'link', linkname: '/etc/shadow' }]],
  ['a device', [{ name: 'tls/null', type: 'character-device' }]],
  [
    'a name twice',
    [
      { name: 'config.yaml', content: 'a' },
      { name: 'config.yaml', content: 'b' },
    ],
  ],
  ['no manifest', [{ name: 'config.yaml', content: 'a' }]],
]

for (const [what, entries] of hostile) {
  test(`a bundle with ${what} is refused as corrupt`, async () => {
    await assert.rejects(read(await tarOf(entries)), { code: 'corrupt' })
    await assert.rejects(read(gzipSync(await tarOf(entries))), { code: 'corrupt' })
  })
}

test('a bomb is refused before it has unpacked', async () => {
  const zeros = gzipSync(Buffer.alloc(300_000_000), { level: 9 })
  let seen = 0
  await assert.rejects(
    readBundle(pieces(zeros), [], async (events) => {
      for await (const _event of events) seen++
    }),
    { code: 'corrupt' },
  )
  assert.equal(seen, 0)
})

async function tarOf(entries: Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const { content = '', ...header } of entries) tar.entry(header, content)
  tar.finalize()
  return Buffer.concat((await Array.fromAsync(tar)) as Buffer[])
}

async function read(bytes: Buffer): Promise<void> {
  await readBundle(pieces(bytes), [], async () => {})
}

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += 65_536) yield bytes.subarray(start, start + 65_536)
}

async function wrapped(wrapping: Wrapping, plain: Buffer): Promise<Buffer> {
  const head = plain.subarray(0, headUnit)
  const body = Buffer.concat(await Array.fromAsync(wrapping.body(pieces(plain.subarray(headUnit)), headUnit)))
  return Buffer.concat([wrapping.head(head, plain.length <= headUnit), body])
}

test('the age program opens what we seal, and we open what it seals', needs('AGE'), async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-age-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const { identity, recipient } = await newIdentity()
  const identityFile = join(folder, 'identity')
  await writeFile(identityFile, `${identity.reveal()}\n`)
  const age = (...words: string[]) =>
    execFileSync(findProgram('AGE') as string, words, { maxBuffer: 1e9, stdio: ['ignore', 'pipe', 'pipe'] })
  for (const size of [0, 1, 65_535, 65_536, 65_537, 300_000]) {
    const plain = Buffer.alloc(size, 'certautopilot')
    const sealed = await wrapped(await sealWrapping([recipient]), plain)
    await writeFile(join(folder, 'ours.age'), sealed)
    assert.ok(age('-d', '-i', identityFile, join(folder, 'ours.age')).equals(plain), `age reads ours, ${size} bytes`)
    await writeFile(join(folder, 'plain'), plain)
    const theirs = age('-r', recipient, join(folder, 'plain'))
    assert.ok(
      Buffer.concat(await Array.fromAsync(openSealedStream([identity], pieces(theirs)))).equals(plain),
      `we read age's, ${size} bytes`,
    )
  }
})

test('a sealed bundle is a plain tar inside, with the archive that stock tools read', needs('AGE'), async () => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-open-'))
  try {
    const tar = execFileSync(findProgram('AGE') as string, ['-d', '-i', host.paths.recoveryKit, join(host.paths.backups, name)], {
      maxBuffer: 1e9,
    })
    execFileSync('tar', ['xf', '-', '-C', folder], { input: tar })
    assert.deepEqual((await readdir(folder)).sort(), ['config.yaml', 'manifest.json', 'mongo.archive.gz', 'secrets.env'])
    assert.equal(execFileSync('gzip', ['-dc', join(folder, 'mongo.archive.gz')], { maxBuffer: 1e9 }).readUInt32LE(), 0x8199e26d)
  } finally {
    await rm(folder, { recursive: true })
  }
})
