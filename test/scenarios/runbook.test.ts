import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { findProgram, needs } from '../servers.ts'
import { newHost } from '../test-host.ts'

const run = promisify(execFile)
const runbook = new URL('../../docs/restore-runbook.md', import.meta.url)

/** The commands of a section, as they stand there. */
async function linesOf(section: string): Promise<string[]> {
  const text = await readFile(runbook, 'utf8')
  const body = text.split(`## ${section}\n`)[1]?.split('\n## ')[0] ?? ''
  return [...body.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = '']) => line)
}

test('the lines of the runbook open a bundle without us, as far as the tools are here', needs('AGE'), async (t) => {
  await using host = await newHost()
  await host.furnish(2)
  await mkdir(join(host.paths.tls, 'b'), { recursive: true })
  for (const name of ['b/c.pem', 'a.pem']) await writeFile(join(host.paths.tls, name), name)
  await writeFile(host.paths.mongoRoot, 'MONGO_ROOT=x')
  const bundle = join(host.paths.backups, await host.backup())
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-runbook-'))
  t.after(() => rm(folder, { recursive: true }))
  const lines = await linesOf('Without CertAutopilot')
  assert.deepEqual(
    lines.map((line) => line.split(' ')[0]),
    ['age', 'tar', 'gunzip', 'mongorestore', 'sed', 'age'],
  )
  for (const line of lines.slice(0, 4)) {
    if (line.startsWith('mongorestore') && findProgram('MONGORESTORE') === undefined) {
      t.diagnostic('mongorestore is not here: its line did not run')
      continue
    }
    await run('sh', ['-ec', line.replace('KIT', host.paths.recoveryKit).replace('BUNDLE', bundle)], { cwd: folder })
  }
  assert.equal(await readFile(join(folder, 'secrets.env'), 'utf8'), await host.read(host.paths.secrets))
  const inside = await run('sh', ['-ec', `age -d -i ${host.paths.recoveryKit} ${bundle} | tar t`])
  assert.deepEqual(
    inside.stdout.trim().split('\n'),
    ['secrets.env', 'config.yaml', 'mongo-root.env', 'tls/a.pem', 'tls/b/c.pem', 'mongo.archive.gz', 'manifest.json'],
    'the order of docs/bundle-format.md',
  )
  const { stdout } = await run('sh', ['-ec', 'gunzip -c mongo.archive.gz | head -c 4 | od -An -tx1'], { cwd: folder })
  assert.equal(stdout.trim(), '6d e2 99 81', 'the magic number of an archive of mongodump')
})

test('the lines of the runbook open a bundle with a kit that a passphrase protects', needs('AGE'), async (t) => {
  await using host = await newHost()
  await host.furnish(1)
  const bundle = join(host.paths.backups, await host.backup())
  const kit = join(host.home, 'protected.txt')
  const CERTAUTOPILOT_PASSPHRASE = 'correct horse battery'
  const words = ['backup', 'key', 'protect', '--identity', host.paths.recoveryKit, '--output', kit]
  assert.equal((await host.cliWith({ CERTAUTOPILOT_PASSPHRASE }, ...words)).exitCode, 0)
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-runbook-'))
  t.after(() => rm(folder, { recursive: true }))
  for (const line of (await linesOf('Without CertAutopilot')).slice(4))
    await onTerminal(line.replace('KIT', kit).replace('BUNDLE', bundle), folder, CERTAUTOPILOT_PASSPHRASE)
  await run('tar', ['-xf', 'bundle.tar'], { cwd: folder })
  assert.equal(await readFile(join(folder, 'secrets.env'), 'utf8'), await host.read(host.paths.secrets))
})

/** Runs a line on a terminal of its own, where it asks for a passphrase, and types that. */
async function onTerminal(line: string, cwd: string, typed: string): Promise<void> {
  const child = spawn('script', ['-qec', line, '/dev/null'], { cwd, stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdout.on('data', (chunk: Buffer) => {
    if (/passphrase/i.test(chunk.toString())) child.stdin.write(`${typed}\n`)
  })
  const [exitCode] = (await once(child, 'exit')) as [number]
  child.stdin.end()
  assert.equal(exitCode, 0, line)
}
