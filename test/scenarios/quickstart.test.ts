import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { needs, startMongo } from '../servers.ts'
import { mongoEnvironment, newHost, ownerPassword } from '../test-host.ts'

test('quickstart proves a backup, and run twice says what is already there', async () => {
  await using host = await newHost()
  const first = await host.ok('quickstart', '--yes', '--exit')
  for (const part of [
    /made {7}CA "Internal"/,
    /saved .* certificates/,
    /opened .* by the recovery kit/,
    /drilled/,
    /compared/,
    /recovered {2}ready in/,
  ])
    assert.match(first.stdout, part)
  assert.equal((await stat(host.paths.secrets)).mode & 0o777, 0o600)
  assert.equal((await stat(host.paths.recoveryKit)).mode & 0o777, 0o600)
  assert.equal((await stat(host.paths.database)).mode & 0o077, 0)
  const secrets = await host.read(host.paths.secrets)
  const again = await host.ok('quickstart', '--yes', '--exit', '--json')
  assert.equal(again.json.message_type, 'summary')
  const second = await host.ok('quickstart', '--yes', '--exit')
  for (const part of [
    /there {6}.*secrets\.env/,
    /there {6}the first owner/,
    /there {6}CA "Internal"/,
    /there {6}3 managed certificates/,
    /0 new certificates/,
  ])
    assert.match(second.stdout, part)
  assert.equal(await host.read(host.paths.secrets), secrets)
  for (const word of [...secrets.matchAll(/=(\S{20,})/g)]
    .map((match) => match[1] as string)
    .filter((value) => !/^[0-9a-f-]{36}$/.test(value))) {
    assert.ok(!(first.stdout + first.stderr + second.stdout).includes(word), 'a secret was printed')
  }
})

test('quickstart takes the next free port when its own is busy, and says so', async () => {
  const busy = createServer()
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve))
  const { port } = busy.address() as { port: number }
  try {
    await using host = await newHost({ CERTAUTOPILOT_SERVER_PORT: String(port) })
    const run = await host.ok('quickstart', '--yes', '--exit')
    assert.match(run.stdout, new RegExp(`port ${port} was busy`))
  } finally {
    busy.close()
  }
})

test('of several processes on one database, exactly one setup wins', needs('SECANTUSD'), async () => {
  await using server = await startMongo()
  const environment = mongoEnvironment(server.uri)
  await using first = await newHost(environment)
  await first.ok('setup')
  const { cp } = await import('node:fs/promises')
  await using second = await newHost(environment)
  await using third = await newHost(environment)
  const hosts = [first, second, third]
  for (const other of [second, third]) await cp(first.home, other.home, { recursive: true })
  const clients = await Promise.all(hosts.map((host) => host.start()))
  const tries = await Promise.all(
    hosts.map(async (host, n) => {
      const token = (await host.read(host.paths.setupToken)).trim()
      const body = { token, email: `owner${n}@example.org`, password: ownerPassword }
      return clients[n]?.request('POST', '/api/v1/setup', body).then(
        () => 'won',
        (error: { code: string }) => error.code,
      )
    }),
  )
  assert.deepEqual(tries.toSorted(), ['conflict', 'conflict', 'won'])
  const listed = await second.ok('user', 'list', '--json')
  assert.equal((listed.json.users as unknown[]).length, 1)
})

test('a bare archive restores too, with the secrets at hand', needs('AGE'), async () => {
  await using host = await newHost()
  await host.furnish(2)
  const bundle = await host.backup()
  await host.ok('cert', 'issue', 'later.example.org')
  await host.stop()
  const tar = execFileSync('age', ['-d', '-i', host.paths.recoveryKit, join(host.paths.backups, bundle)], { maxBuffer: 1e9 })
  execFileSync('tar', ['xf', '-', '-C', host.home, 'mongo.archive.gz'], { input: tar })
  const archive = join(host.home, 'mongo.archive.gz')
  assert.equal((await host.cli('restore', 'apply', archive)).exitCode, 24)
  await host.ok('restore', 'apply', archive, '--accept-foreign')
  await host.start()
  assert.equal(((await host.ok('cert', 'list', '--json')).json.items as unknown[]).length, 2)
})

test('every command has help with examples, and the completion is bash', async () => {
  await using host = await newHost()
  const { allCommands } = await import('../../src/cli/commands.ts')
  const { helpText } = await import('../../src/cli/command.ts')
  for (const command of await allCommands()) {
    const help = helpText(command)
    assert.ok(command.examples.length > 0 && help.includes('examples:'), command.name)
    for (const example of command.examples) assert.ok(example.includes(command.name), `${command.name}: ${example}`)
  }
  const completion = await host.ok('completion', 'bash')
  const script = `${completion.stdout}\nCOMP_WORDS=(certautopilot backup ""); COMP_CWORD=2; _certautopilot; echo "\${COMPREPLY[*]}"`
  assert.match(execFileSync('bash', ['-c', script]).toString(), /create list show verify prune pin unpin accept quiesce key/)
  assert.match((await host.ok('--help')).stdout, /restore apply BUNDLE/)
})
