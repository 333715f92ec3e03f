import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { contractSpecs, storeContract, thing } from '../store.contract.ts'
import { openEmbeddedExchange } from './exchange.ts'
import { openEmbeddedStore } from './store.ts'

async function temporaryPath(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-store-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return join(folder, 'data', 'certautopilot.db')
}

async function open(t: TestContext, path?: string) {
  const store = openEmbeddedStore({ path: path ?? (await temporaryPath(t)), databaseName: 'certautopilot' })
  t.after(() => store.close())
  await store.prepare(contractSpecs)
  return store
}

storeContract('embedded', open)

test('embedded: a new index of a declaration is filled from the documents', async (t) => {
  const path = await temporaryPath(t)
  const store = openEmbeddedStore({ path, databaseName: 'certautopilot' })
  await store.prepare([{ name: 'things', indexes: [] }])
  await store.commit([{ insert: 'things', document: thing('a', { rank: 7 }) }])
  await store.close()
  const again = await open(t, path)
  assert.equal((await again.find('things', { where: { rank: 7 } })).items.length, 1)
})

test('embedded: a file of a newer format is refused, and stays as it is', async (t) => {
  const path = await temporaryPath(t)
  await (await open(t, path)).close()
  const file = new DatabaseSync(path)
  file.exec('PRAGMA user_version = 99')
  file.close()
  assert.throws(() => openEmbeddedStore({ path, databaseName: 'x' }), { code: 'too-new' })
})

test('embedded: a cut-over beside a hot WAL shows the restored rows, and undo shows the old ones', async (t) => {
  const path = await temporaryPath(t)
  const options = { path, databaseName: 'certautopilot' }
  const exchange = openEmbeddedExchange(options)
  const staging = await exchange.stage('r1', contractSpecs)
  await staging.finish()
  const staged = await staging.open()
  await staged.prepare(contractSpecs)
  await staged.commit([{ insert: 'things', document: thing('restored') }])
  await staged.close()

  const killed = await open(t, path)
  await killed.commit([{ insert: 'things', document: thing('old') }])
  // The connection stays open, as a killed process leaves its WAL: never checkpointed.
  await exchange.cutOver('r1')
  await exchange.cutOver('r1')

  const restored = await open(t, path)
  assert.deepEqual(
    (await restored.find('things')).items.map((found) => found._id),
    ['restored'],
  )
  await restored.close()
  await exchange.goBack('r1')
  const undone = await open(t, path)
  assert.deepEqual(
    (await undone.find('things')).items.map((found) => found._id),
    ['old'],
  )
})
