import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import type { CollectionInfo } from '../../src/archive/format.ts'
import { readArchive } from '../../src/archive/read-archive.ts'
import { writeArchive } from '../../src/archive/write-archive.ts'
import { buildDocument, int64Bytes, rawDocument, rawInt32, rawString } from '../../src/document/raw-builder.ts'
import { bsonType, splitDocuments } from '../../src/document/raw-document.ts'
import { toExtendedJson } from '../../src/document/to-extended-json.ts'
import { openEmbeddedExchange } from '../../src/store/embedded/exchange.ts'
import { openMongoExchange } from '../../src/store/mongodb/exchange.ts'
import { openMongoStore } from '../../src/store/mongodb/store.ts'
import type { StoreExchange } from '../../src/store/staging.ts'
import type { Store } from '../../src/store/store.ts'
import { findProgram, type MongoServer, needs, startMongo } from '../servers.ts'

const fixture = gunzipSync(await readFile(new URL('../bundles/mongodump-100.8.archive.gz', import.meta.url)))
let server: MongoServer | undefined
after(() => server?.[Symbol.asyncDispose]())

interface Loaded {
  collections: Map<string, CollectionInfo>
  documents: Map<string, Buffer>
}

async function read(archive: Buffer): Promise<Loaded> {
  const loaded: Loaded = { collections: new Map(), documents: new Map() }
  const source = async function* () {
    yield archive
  }
  for await (const event of readArchive(source())) {
    if (event.kind === 'prelude') for (const { info } of event.prelude.collections) loaded.collections.set(info.name, info)
    if (event.kind === 'documents')
      loaded.documents.set(
        event.collection,
        Buffer.concat([loaded.documents.get(event.collection) ?? Buffer.alloc(0), event.documents]),
      )
  }
  return loaded
}

async function restoreInto(exchange: StoreExchange, loaded: Loaded): Promise<void> {
  const staging = await exchange.stage('fixture', [])
  for (const info of loaded.collections.values()) await staging.createCollection(info)
  for (const [name, documents] of loaded.documents) await staging.load(name, documents)
  await staging.finish()
  await exchange.cutOver('fixture')
}

async function dump(store: Store): Promise<Buffer> {
  await using point = await store.snapshot()
  const blocks = async function* () {
    for (const { name, type } of point.collections) {
      if (type === 'view') continue
      for await (const documents of point.read(name)) yield { database: 'x', collection: name, documents }
      yield { database: 'x', collection: name, documents: Buffer.alloc(0) }
    }
  }
  const prelude = { serverVersion: 'x', toolVersion: 'x', collections: point.collections.map((info) => ({ database: 'x', info })) }
  return Buffer.concat(await Array.fromAsync(writeArchive(prelude, blocks())))
}

test('embedded: an archive of the stock tool comes out again byte for byte, with options, indexes and view', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-foreign-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const options = { path: join(folder, 'x.db'), databaseName: 'x' }
  const before = await read(fixture)
  odd(before)
  await restoreInto(openEmbeddedExchange(options), before)
  const { openEmbeddedStore } = await import('../../src/store/embedded/store.ts')
  const store = openEmbeddedStore(options)
  const again = await read(await dump(store))
  await store.close()
  assert.deepEqual([...again.collections.keys()].sort(), [...before.collections.keys()].sort())
  for (const [name, info] of before.collections) {
    assert.deepEqual(again.collections.get(name), info, name)
    assert.ok((again.documents.get(name) ?? Buffer.alloc(0)).equals(before.documents.get(name) ?? Buffer.alloc(0)), name)
  }
})

/** What objects of a library would lose: order of number-like keys, duplicate keys, far dates. */
function odd(loaded: Loaded): void {
  const far = { type: bsonType.date, bytes: int64Bytes(-9_223_372_036_854_775_000n) }
  const key = buildDocument([
    ['b', rawInt32(1)],
    ['1', rawInt32(1)],
    ['b', rawInt32(-1)],
  ])
  const index = buildDocument([
    ['v', rawInt32(2)],
    ['key', rawDocument(key)],
    ['name', rawString('odd')],
    ['since', far],
  ])
  const document = buildDocument([
    ['_id', rawInt32(1)],
    ['z', rawInt32(1)],
    ['2', rawInt32(2)],
    ['z', far],
    ['_bsontype', rawString('Long')],
  ])
  loaded.collections.set('odd', { name: 'odd', type: 'collection', options: buildDocument([]), indexes: [index] })
  loaded.documents.set('odd', document)
}

test('mongodb: an archive of the stock tool comes out again, with options, indexes and view', {
  skip: needs('SECANTUSD').skip,
}, async () => {
  server ??= await startMongo()
  const options = { uri: server.uri, databaseName: `f-${randomUUID()}` }
  const before = await read(fixture)
  await using exchange = await openMongoExchange(options)
  await restoreInto(exchange, before)
  const store = await openMongoStore(options)
  const again = await read(await dump(store))
  await store.close()
  assert.deepEqual([...again.collections.keys()].sort(), [...before.collections.keys()].sort())
  for (const [name, info] of before.collections) {
    assert.deepEqual(sorted(again.documents.get(name)), sorted(before.documents.get(name)), name)
    assert.deepEqual(indexNames(again.collections.get(name)), indexNames(info), name)
    assert.equal(again.collections.get(name)?.type, info.type, name)
  }
})

function sorted(documents: Buffer | undefined): string[] {
  return [...splitDocuments(documents ?? Buffer.alloc(0))].map((bytes) => bytes.toString('hex')).sort()
}

function indexNames(info: CollectionInfo | undefined): string[] {
  return (info?.indexes ?? []).map((index) => JSON.stringify(JSON.parse(toExtendedJson(index)).key)).sort()
}

test('stock mongorestore and mongodump agree with us', {
  skip: needs('MONGORESTORE').skip || needs('MONGODUMP').skip || needs('SECANTUSD').skip,
}, async (t) => {
  server ??= await startMongo()
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-stock-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const archive = join(folder, 'x.archive')
  execFileSync(findProgram('MONGORESTORE') as string, [
    `--uri=${server.uri}`,
    `--archive=${new URL('../bundles/mongodump-100.8.archive.gz', import.meta.url).pathname}`,
    '--gzip',
    '--drop',
  ])
  const store = await openMongoStore({ uri: server.uri, databaseName: 'fixture' })
  const { writeFile } = await import('node:fs/promises')
  await writeFile(archive, await dump(store))
  await store.close()
  execFileSync(findProgram('MONGORESTORE') as string, [
    `--uri=${server.uri}`,
    `--archive=${archive}`,
    '--nsFrom=x.*',
    '--nsTo=again.*',
    '--drop',
  ])
  execFileSync(findProgram('MONGODUMP') as string, [`--uri=${server.uri}`, '--db=again', `--archive=${archive}`])
  const [stock, ours] = [await read(await readFile(archive)), await read(fixture)]
  for (const name of ours.collections.keys())
    assert.deepEqual(sorted(stock.documents.get(name)), sorted(ours.documents.get(name)), name)
})
