import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { openMongoStore } from '../../src/store/mongodb/store.ts'
import type { Store } from '../../src/store/store.ts'
import { needs, startMongo } from '../servers.ts'
import { newHost } from '../test-host.ts'

const seed = Number(process.env.TEST_SEED ?? Math.floor(Math.random() * 1e6))
const specs = [{ name: 'acknowledged', indexes: [] }]
const writer = `
  import { openEmbeddedStore } from ${JSON.stringify(new URL('../../src/store/embedded/store.ts', import.meta.url).href)}
  const store = openEmbeddedStore({ path: process.argv[1], databaseName: 'x' })
  await store.prepare(${JSON.stringify(specs)})
  for (let n = 0; ; n++) {
    const id = process.argv[2] + '-' + n
    await store.commit([{ insert: 'acknowledged', document: { _id: id } }, { insert: 'acknowledged', document: { _id: id + '-twin' } }])
    process.stdout.write(id + '\\n')
  }`

test(`embedded: what was acknowledged survives kill -9 at random times (seed ${seed})`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-kill-'))
  try {
    const path = join(folder, 'kill.db')
    const acknowledged: string[] = []
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', writer, path, `r${round}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      createInterface({ input: child.stdout }).on('line', (line) => acknowledged.push(line))
      const closed = once(child, 'close')
      await once(child.stdout, 'data')
      await new Promise((resolve) => setTimeout(resolve, ((seed * (round + 7)) % 120) + 5))
      child.kill('SIGKILL')
      await closed
    }
    const store = openEmbeddedStore({ path, databaseName: 'x' })
    await store.prepare(specs)
    await allThere(store, acknowledged)
    await store.close()
  } finally {
    await rm(folder, { recursive: true })
  }
})

test(`mongodb: what was acknowledged survives kill -9 of the server (seed ${seed})`, needs('SECANTUSD'), async () => {
  const storagePath = await mkdtemp(join(tmpdir(), 'certautopilot-kill-'))
  try {
    const acknowledged: string[] = []
    for (let round = 0; round < 3; round++) {
      await using server = await startMongo({ flags: ['--sync-on-commit'], storagePath })
      const store = await openMongoStore({ uri: server.uri, databaseName: 'kill' })
      await store.prepare(specs)
      setTimeout(() => server.process.kill('SIGKILL'), ((seed * (round + 7)) % 300) + 100)
      for (let n = 0; server.process.signalCode === null; n++) {
        const id = `r${round}-${n}`
        const done = await store
          .commit([
            { insert: 'acknowledged', document: { _id: id } },
            { insert: 'acknowledged', document: { _id: `${id}-twin` } },
          ])
          .then(
            () => true,
            () => false,
          )
        if (!done) break
        acknowledged.push(id)
      }
      await store.close()
    }
    await using server = await startMongo({ storagePath })
    const store = await openMongoStore({ uri: server.uri, databaseName: 'kill' })
    await store.prepare(specs)
    await allThere(store, acknowledged)
    await store.close()
  } finally {
    await rm(storagePath, { recursive: true })
  }
})

async function allThere(store: Store, acknowledged: string[]): Promise<void> {
  assert.ok(acknowledged.length > 10, `only ${acknowledged.length} acknowledged`)
  for (const id of acknowledged) {
    assert.ok(await store.get('acknowledged', id), `${id} is lost`)
    assert.ok(await store.get('acknowledged', `${id}-twin`), `the transaction of ${id} is torn`)
  }
}

test(`a restore that is killed at any time leaves the old state or the new one, and the service starts (seed ${seed})`, async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  await host.ok('cert', 'issue', 'later.example.org')
  await host.stop()
  let applied = 0
  for (let round = 0; round < 8; round++) {
    const child = host.spawn(['restore', 'apply', bundle, '--no-safety-bundle'])
    const exited = once(child, 'exit')
    const timer = setTimeout(() => child.kill('SIGKILL'), 150 + ((seed * (round + 3)) % 350))
    const [code] = (await exited) as [number | null]
    clearTimeout(timer)
    if (code === 0) applied++
    await host.start()
    const run = await host.ok('cert', 'list', '--json')
    const names = (run.json.items as { name: string }[]).map((item) => item.name).sort()
    assert.ok(['c0.example.org', 'c0.example.org,later.example.org'].includes(names.join()), names.join())
    if (code === 0) assert.equal(names.length, 1)
    await host.ok('kek', 'verify')
    await host.stop()
  }
  assert.ok(applied >= 0)
  await host.ok('restore', 'apply', bundle)
})

test('a cut-over that stopped between its steps is finished by the next start', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  await host.ok('cert', 'issue', 'later.example.org')
  await host.stop()
  await host.ok('restore', 'apply', bundle)
  // As a crash right after the database went live, before the files did, would leave it.
  const { writeFile, rename, readFile } = await import('node:fs/promises')
  const journalPath = join(host.paths.restore, 'journal.json')
  const journal = JSON.parse(await readFile(journalPath, 'utf8')) as { id: string; phase: string }
  const folder = join(host.paths.restore, journal.id)
  await rename(host.paths.secrets, join(folder, 'staged', 'secrets'))
  await rename(join(folder, 'previous', 'secrets'), host.paths.secrets)
  await writeFile(journalPath, JSON.stringify({ ...journal, phase: 'cutting-over' }))
  await host.start()
  assert.equal(JSON.parse(await readFile(journalPath, 'utf8')).phase, 'live')
  assert.equal(((await host.ok('cert', 'list', '--json')).json.items as unknown[]).length, 1)
  await host.stop()
  await host.ok('restore', 'undo')
  await host.start()
  assert.equal(((await host.ok('cert', 'list', '--json')).json.items as unknown[]).length, 2)
})

test(`an undo that is killed at any time can be finished (seed ${seed})`, async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  await host.ok('cert', 'issue', 'later.example.org')
  await host.stop()
  for (let round = 0; round < 5; round++) {
    await host.ok('restore', 'apply', bundle, '--no-safety-bundle')
    const child = host.spawn(['restore', 'undo'])
    const exited = once(child, 'exit')
    const timer = setTimeout(() => child.kill('SIGKILL'), 250 + ((seed * (round + 5)) % 300))
    await exited
    clearTimeout(timer)
    const again = await host.cli('restore', 'undo')
    assert.ok(again.exitCode === 0 || again.exitCode === 10, again.stderr)
    await host.start()
    const names = ((await host.ok('cert', 'list', '--json')).json.items as { name: string }[]).map((item) => item.name).sort()
    assert.deepEqual(names, ['c0.example.org', 'later.example.org'])
    await host.ok('kek', 'verify')
    await host.stop()
  }
})

test('in the middle of a cut-over nothing else opens the database', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  await host.stop()
  await host.ok('restore', 'apply', bundle)
  const { readFile, writeFile } = await import('node:fs/promises')
  const path = join(host.paths.restore, 'journal.json')
  await writeFile(path, (await readFile(path, 'utf8')).replace('"live"', '"cutting-over"'))
  const run = await host.cli('backup', 'create')
  assert.equal(run.exitCode, 24)
  assert.match(run.stderr, /unfinished/)
  const other = await host.cliWith({ CERTAUTOPILOT_DATABASE_NAME: 'other' }, 'restore', 'undo')
  assert.equal(other.exitCode, 24)
  await host.start()
  await host.stop()
  await host.ok('backup', 'create')
})

test('an undo after the restored service acted saves what it undoes, and comes back in safe mode', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  await host.stop()
  await host.ok('restore', 'apply', bundle)
  await host.start()
  await host.ok('restore', 'release')
  await host.ok('cert', 'issue', 'weeks-of-work.example.org')
  await host.stop()
  const undone = await host.ok('restore', 'undo', '--json')
  const safety = await host.ok('restore', 'plan', String(undone.json.safetyBundle))
  assert.match(safety.stdout, /certificates\s+1\s+2/)
  await host.start()
  assert.match((await host.ok('status')).stdout, /safe mode {2}on/)
})

test('a recovery kit is never overwritten', async () => {
  await using host = await newHost()
  await host.ok('setup')
  const kit = await host.read(host.paths.recoveryKit)
  await rm(host.paths.config)
  for (const command of [['setup'], ['quickstart', '--yes', '--exit']]) {
    const run = await host.cli(...command)
    assert.equal(run.exitCode, 1)
    assert.match(run.stderr, /recovery kit already/)
  }
  assert.equal(await host.read(host.paths.recoveryKit), kit)
})

test('a database that was put back by hand is noticed: safe mode, until released', async () => {
  await using host = await newHost()
  await host.furnish(1)
  await host.stop()
  const { copyFile, cp } = await import('node:fs/promises')
  const copy = join(host.home, 'copy.db')
  await copyFile(host.paths.database, copy)
  await host.start()
  await host.ok('cert', 'issue', 'later.example.org')
  await new Promise((resolve) => setTimeout(resolve, 2500))
  await host.stop()
  for (const name of await readdir(join(host.home, 'data'))) await rm(join(host.home, 'data', name))
  await cp(copy, host.paths.database)
  await host.start()
  assert.match((await host.ok('status')).stdout, /safe mode {2}on: .*older than before/)
  await host.ok('restore', 'release')
  await host.ok('cert', 'issue', 'again.example.org')
})

test('a damaged live database does not stop a restore: it is moved aside', async () => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = await host.backup()
  await host.stop()
  const { writeFile } = await import('node:fs/promises')
  await writeFile(host.paths.database, 'this is no database')
  await host.ok('restore', 'apply', bundle)
  await host.start()
  assert.equal(((await host.ok('cert', 'list', '--json')).json.items as unknown[]).length, 1)
})
