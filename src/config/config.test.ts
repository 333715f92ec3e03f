import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { AppError } from '../core/app-error.ts'
import { formatEnvFile, parseEnvFile } from './env-file.ts'
import { loadConfig } from './load-config.ts'

async function home(t: TestContext, files: Record<string, string> = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-config-'))
  t.after(() => rm(folder, { recursive: true }))
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content, { mode: 0o600 })
  return folder
}

test('defaults, then config.yaml, then the environment', async (t) => {
  const CERTAUTOPILOT_HOME = await home(t, { 'config.yaml': 'server:\n  port: 9000\n  host: 0.0.0.0\n' })
  const { config } = loadConfig({ CERTAUTOPILOT_HOME, CERTAUTOPILOT_SERVER_PORT: '9001' })
  assert.deepEqual([config['server.port'], config['server.host'], config['drill.interval_days']], [9001, '0.0.0.0', 90])
})

test('every problem is reported at once, by key, value and expectation', async (t) => {
  const CERTAUTOPILOT_HOME = await home(t, { 'config.yaml': 'server:\n  port: many\n  colour: red\nbackup: yes\n' })
  const environment = { CERTAUTOPILOT_HOME, CERTAUTOPILOT_NONSENSE: '1', CERTAUTOPILOT_WORKER_CONCURRENCY: '0' }
  assert.throws(
    () => loadConfig(environment),
    (error: AppError) => {
      assert.equal(error.code, 'config')
      for (const part of [
        '"server.port" is "many", expected a port',
        'unknown key "server.colour"',
        'unknown key "backup"',
        '"worker.concurrency" is "0"',
        'CERTAUTOPILOT_NONSENSE',
      ]) {
        assert.ok(error.message.includes(part), `${part} in ${error.message}`)
      }
      return true
    },
  )
})

test('malformed YAML, a wrong line in secrets.env and an odd KEK name are errors that do not show the value', async (t) => {
  const bad = [
    { 'config.yaml': 'server: [' },
    { 'secrets.env': 'hunter2 is no line' },
    { 'secrets.env': 'CERTAUTOPILOT_ENCRYPTION_ENV_KEK_Vx=hunter2' },
    { 'secrets.env': 'A=hunter2\nA=hunter2' },
  ]
  for (const files of bad) {
    const CERTAUTOPILOT_HOME = await home(t, files)
    assert.throws(
      () => loadConfig({ CERTAUTOPILOT_HOME }),
      (error: AppError) => error.code === 'config' && !inspect(error).includes('hunter2'),
    )
  }
})

test('known names of the original are accepted with a warning', async (t) => {
  const CERTAUTOPILOT_HOME = await home(t)
  const { warnings } = loadConfig({ CERTAUTOPILOT_HOME, CERTAUTOPILOT_ENCRYPTION_CURRENT_VERSION: '1', CAP_MONGO_URI: 'x' })
  assert.equal(warnings.length, 2)
})

test('secrets do not print themselves, in any way', async (t) => {
  const kek = 'ab'.repeat(16) + 'cd'.repeat(16)
  const CERTAUTOPILOT_HOME = await home(t, {
    'secrets.env': `CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V1=${kek}\nCERTAUTOPILOT_JWT_SECRET=hunter2\n`,
  })
  const loaded = loadConfig({ CERTAUTOPILOT_HOME, CERTAUTOPILOT_DATABASE_URI: 'mongodb://u:hunter2@h/x' })
  const wrapped = new AppError('failed', `with ${loaded.secrets.jwtSecret}`, {
    details: { ...loaded.secrets },
    cause: loaded.secrets.jwtSecret,
  })
  const shown = [
    inspect(loaded, { depth: 9, showHidden: true }),
    JSON.stringify(loaded),
    `${loaded.secrets.jwtSecret}`,
    inspect(wrapped, { depth: 9 }),
    JSON.stringify(wrapped.details),
  ].join()
  assert.doesNotMatch(shown, new RegExp(`hunter2|${kek}`))
  assert.equal(loaded.secrets.jwtSecret?.reveal(), 'hunter2')
})

test('an env file survives writing and reading', () => {
  const values = new Map([
    ['A', 'plain'],
    ['B', 'with space "and" quotes'],
    ['C', 'mongodb://u:p@h/?a=b&c=d'],
    ['D', ''],
  ])
  assert.deepEqual(parseEnvFile(formatEnvFile(values, 'x'), 'x'), values)
})
