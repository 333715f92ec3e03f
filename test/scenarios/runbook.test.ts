import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
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
  const bundle = join(host.paths.backups, await host.backup())
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-runbook-'))
  t.after(() => rm(folder, { recursive: true }))
  const lines = await linesOf('Without CertAutopilot')
  assert.deepEqual(
    lines.map((line) => line.split(' ')[0]),
    ['age', 'tar', 'gunzip', 'mongorestore'],
  )
  for (const line of lines) {
    if (line.startsWith('mongorestore') && findProgram('MONGORESTORE') === undefined) {
      t.diagnostic('mongorestore is not here: its line did not run')
      continue
    }
    await run('sh', ['-ec', line.replace('KIT', host.paths.recoveryKit).replace('BUNDLE', bundle)], { cwd: folder })
  }
  assert.equal(await readFile(join(folder, 'secrets.env'), 'utf8'), await host.read(host.paths.secrets))
  const { stdout } = await run('sh', ['-ec', 'gunzip -c mongo.archive.gz | head -c 4 | od -An -tx1'], { cwd: folder })
  assert.equal(stdout.trim(), '6d e2 99 81', 'the magic number of an archive of mongodump')
})
