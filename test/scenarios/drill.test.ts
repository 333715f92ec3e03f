import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { test } from 'node:test'
import { newHost, type TestHost } from '../test-host.ts'

/** A listener in the place of something of production: counts who connects. */
async function tripwire(): Promise<{ port: number; connections: () => number } & AsyncDisposable> {
  let connections = 0
  const server: Server = createServer((socket) => {
    connections++
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    connections: () => connections,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

test('a drill connects to nothing of production', async () => {
  await using database = await tripwire()
  await using issuer = await tripwire()
  await using host = await newHost()
  await host.furnish(1)
  await host.stop()
  const secrets = await host.read(host.paths.secrets)
  await writeFile(
    host.paths.config,
    `${await host.read(host.paths.config)}server:\n  public_url: http://127.0.0.1:${issuer.port}\n`,
  )
  await host.backup()
  // From here on the bundle's own secrets name a database that is a trap.
  await writeFile(host.paths.secrets, `${secrets}CERTAUTOPILOT_DATABASE_URI=mongodb://127.0.0.1:${database.port}/x\n`)
  const embedded = { CERTAUTOPILOT_DATABASE_ENGINE: 'embedded' }
  const backup = await host.cliWith(embedded, 'backup', 'create', '--json')
  assert.equal(backup.exitCode, 0, backup.stderr)
  const drill = await host.cliWith(embedded, 'drill', 'run', String(backup.json.bundle), '--json')
  assert.equal(drill.exitCode, 0, drill.stderr + drill.stdout)
  assert.match(String(drill.json.isolation), /network-namespace|connection-guard/)
  assert.equal(database.connections() + issuer.connections(), 0)
})

test('a planted drift fails the drill, with a report', async () => {
  await using host = await newHost()
  await host.furnish(2)
  await host.backup()
  for (let n = 0; n < 4; n++) await host.ok('cert', 'issue', `more${n}.example.org`)
  const run = await host.cli('drill', 'run')
  assert.equal(run.exitCode, 20)
  assert.match(run.stderr, /"certificates": 2 restored, 6 in production/)
  assert.match((await host.ok('drill', 'show')).stdout, /failed/)
  await noScratch(host)
})

test('a drill of a bundle with nothing to renew fails instead of passing', async () => {
  await using host = await newHost()
  await host.furnish(0)
  await host.backup()
  const run = await host.cli('drill', 'run')
  assert.equal(run.exitCode, 20)
  assert.match(run.stderr, /no managed certificate/)
})

test('a changed report does not verify', async () => {
  await using host = await newHost()
  await host.furnish(1)
  await host.backup()
  await host.ok('drill', 'run')
  await host.ok('drill', 'verify')
  const [file] = await readdir(host.paths.drills)
  const path = `${host.paths.drills}/${file}`
  await writeFile(path, (await host.read(path)).replace('"drift_percent": 0', '"drift_percent": 1'))
  assert.equal((await host.cli('drill', 'verify')).exitCode, 20)
})

async function noScratch(host: TestHost): Promise<void> {
  assert.deepEqual(
    (await readdir(host.paths.drills)).filter((name) => !name.endsWith('.json')),
    [],
  )
}
