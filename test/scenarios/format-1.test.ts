import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Certificate } from '../../src/certificates/collections.ts'
import { needs, startMongo } from '../servers.ts'
import { mongoEnvironment, newHost, ownerPassword } from '../test-host.ts'

/** Bundles as the first version wrote them. They never change: what reads bundles has to read these. */
const folder = fileURLToPath(new URL('../bundles/format-1', import.meta.url))
const kit = join(folder, 'recovery-kit.txt')
const frozen = {
  'certautopilot-backup-20261124-140103.tar.age': 'cd35f037d0fb61bca835056cea54245e6fa97d20b2c5bde9f1db53b1f6f1582a',
  'certautopilot-backup-20261124-140104.tar.gz': '492676c59b3aa922e687e7bf5eefee21763d87830ba38f286abc7bfcdd5da765',
}

const engines = [
  { engine: 'embedded', skip: false as const },
  { engine: 'mongodb', skip: needs('SECANTUSD').skip },
]

for (const [name, digest] of Object.entries(frozen)) {
  const bundle = join(folder, name)

  test(`format 1: ${name} is as it was, and verifies`, async () => {
    assert.equal(
      createHash('sha256')
        .update(await readFile(bundle))
        .digest('hex'),
      digest,
    )
    await using host = await newHost()
    const verified = await host.ok('backup', 'verify', bundle, '--identity', kit, '--json')
    assert.deepEqual(verified.json.envelopes, { total: 6, opened: 6 })
    const manifest = JSON.parse(await readFile(`${bundle}.manifest.json`, 'utf8')) as { manifest: { format: number } }
    assert.equal(manifest.manifest.format, 1)
    await using stranger = await newHost()
    await stranger.ok('setup')
    const foreign = await stranger.cli('backup', 'verify', bundle)
    assert.notEqual(foreign.exitCode, 0, 'without its kit it is not trusted, or not opened')
  })

  for (const { engine, skip } of engines)
    test(`format 1: ${name} is restored into ${engine}, and works`, { skip }, async (t) => {
      const server = engine === 'mongodb' ? await startMongo() : undefined
      t.after(() => server?.[Symbol.asyncDispose]())
      await using host = await newHost(server === undefined ? {} : mongoEnvironment(server.uri))
      const own = await mkdtemp(join(tmpdir(), 'certautopilot-frozen-'))
      t.after(() => rm(own, { recursive: true }))
      await copyFile(kit, join(own, 'kit.txt'))
      await host.ok('restore', 'apply', bundle, '--identity', join(own, 'kit.txt'))
      const api = await host.start()
      const { items } = JSON.parse(await api.request('GET', '/api/v1/certificates')) as { items: Certificate[] }
      assert.deepEqual(items.map((item) => item.name).sort(), ['c0.example.org', 'c1.example.org', 'c2.example.org'])
      await api.request('POST', '/api/v1/auth/login', { email: 'owner@example.org', password: ownerPassword })
      await host.ok('restore', 'release')
      await host.ok('cert', 'renew', items[0]?._id as string)
      await host.ok('audit', 'verify')
      assert.deepEqual(await readdir(host.paths.tls), ['server.pem'])
    })
}
