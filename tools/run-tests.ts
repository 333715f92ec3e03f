import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Checks, then the web UI is built, then every test; at the end the tests that did not run, with the reason. In CI a skip that this machine could have run fails. */
const unobtainable = /needs (MONGODUMP|MONGORESTORE|BSONDUMP|MONGOD)\b/

process.exitCode = main()

function main(): number {
  if (!passes('node', ['tools/run-checks.ts'])) return 1
  if (!passes('npm', ['run', '--silent', 'build'])) return 1
  if (!passes('tools/test-servers', [])) return 1
  const folder = mkdtempSync(join(tmpdir(), 'certautopilot-skips-'))
  try {
    const skips = join(folder, 'skips.json')
    const reporters = [
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      '--test-reporter=./tools/skip-reporter.ts',
      `--test-reporter-destination=${skips}`,
    ]
    const passed = passes('node', [
      '--test',
      '--test-concurrency=2',
      '--test-timeout=600000',
      ...reporters,
      'src/**/*.test.ts',
      'test/**/*.test.ts',
    ])
    return reportSkips(readFileSync(skips, 'utf8')) && passed ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function passes(command: string, words: string[]): boolean {
  return spawnSync(command, words, { stdio: 'inherit' }).status === 0
}

function reportSkips(lines: string): boolean {
  const skipped = lines.split('\n').filter((line) => line !== '')
  console.log(skipped.length === 0 ? 'every test ran' : `did not run:\n${skipped.map((line) => `  ${line}`).join('\n')}`)
  const avoidable = skipped.filter((line) => !unobtainable.test(line))
  if (avoidable.length === 0 || process.env.CI !== 'true') return true
  console.error(`${avoidable.length} of them could run on this machine: see what tools/test-servers says`)
  return false
}
