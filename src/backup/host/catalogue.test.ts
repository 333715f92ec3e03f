import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { once } from '../../core/chunks.ts'
import type { Catalogue, Sidecar } from '../catalogue.ts'
import { openCatalogue } from './catalogue.ts'
import { publishFile } from './files.ts'
import { oneAtATime } from './locks.ts'

const name = 'certautopilot-backup-20261124-120000.tar.age'

test('of many that add to what is known of a bundle at once none undoes the others', async (t) => {
  const folder = await folderOf(t)
  const open = () => openCatalogue(folder, oneAtATime(folder, 'states'))
  const several = [open(), open(), open()]
  const copy = { at: '', bytes: 1, sha256: '' }
  const adding = Array.from({ length: 15 }, (_, index) =>
    several[index % 3]?.addState(name, ({ copies }) => ({ copies: { ...copies, [`target-${index}`]: copy } })),
  )
  await Promise.all([...adding, open().addState(name, () => ({ pin: { reason: 'x', until: null, by: 'y' } }))])
  await writeFile(join(folder, name), '')
  const [entry] = await open().list()
  assert.equal(Object.keys(entry?.state.copies ?? {}).length, 15)
  assert.equal(entry?.state.pin?.reason, 'x')
})

test('a bundle has its state when it gets its name, and is none that counts once it was cut short', async (t) => {
  const folder = await folderOf(t)
  const catalogue = openCatalogue(folder, oneAtATime(folder, 'states'))
  await published(catalogue)
  const good = (await catalogue.list())[0]
  assert.deepEqual([good?.state.verified_level, good?.state.failed_at], ['full', undefined])
  await truncate(join(folder, name), 2)
  const cut = (await catalogue.list())[0]
  assert.match(cut?.state.failure ?? '', /it has 2 bytes, its manifest says 5/)
})

test('a bundle that cannot get its name leaves nothing beside it', async (t) => {
  const folder = await folderOf(t)
  const catalogue = openCatalogue(folder, oneAtATime(folder, 'states'))
  await using draft = await catalogue.startDraft()
  const hidden = (await readdir(folder)).find((file) => file.startsWith('.draft-')) as string
  await rm(join(folder, hidden))
  await assert.rejects(draft.publish(name, {} as Sidecar, {}), /ENOENT/)
  await writeFile(join(folder, hidden), '')
  assert.deepEqual(
    (await readdir(folder)).filter((file) => file.startsWith(name)),
    [],
  )
})

test('a backup begins while others change what is known of bundles', async (t) => {
  const folder = await folderOf(t)
  const catalogue = openCatalogue(folder, (change) => change())
  let isOver = false
  const changing = (async () => {
    while (!isOver) await publishFile(join(folder, `${name}.state.json`), '{}')
  })()
  for (let n = 0; n < 500; n++) await disposed(await catalogue.startDraft())
  isOver = true
  await changing
})

async function disposed(resource: AsyncDisposable): Promise<void> {
  await resource[Symbol.asyncDispose]()
}

async function published(catalogue: Catalogue): Promise<void> {
  await using draft = await catalogue.startDraft()
  await draft.write(once(Buffer.from('whole')), 0)
  const written = await draft.finish()
  const sidecar = { manifest: {}, artefact: { name, ...written, recipients: [] } } as unknown as Sidecar
  await draft.publish(name, sidecar, { verified_level: 'full' })
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-catalogue-'))
  t.after(() => rm(folder, { recursive: true }))
  return folder
}
