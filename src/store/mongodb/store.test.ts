import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, type TestContext, test } from 'node:test'
import { MongoClient } from 'mongodb'
import { startMongoProxy } from '../../../test/mongo-proxy.ts'
import { type MongoServer, needs, startMongo } from '../../../test/servers.ts'
import { buildDocument, int64Bytes, rawBoolean, rawDocument, rawInt32, rawString } from '../../document/raw-builder.ts'
import { bsonType, splitDocuments } from '../../document/raw-document.ts'
import { toExtendedJson } from '../../document/to-extended-json.ts'
import { contractSpecs, storeContract, thing } from '../store.contract.ts'
import { openMongoExchange } from './exchange.ts'
import { uriOfMember } from './reader.ts'
import { openMongoStore } from './store.ts'

const { skip } = needs('SECANTUSD')
let server: MongoServer | undefined
after(() => server?.[Symbol.asyncDispose]())

async function serverUri(): Promise<string> {
  server ??= await startMongo()
  return server.uri
}

async function open(t: TestContext, databaseName = `test-${randomUUID()}`) {
  const store = await openMongoStore({ uri: await serverUri(), databaseName })
  t.after(() => store.close())
  await store.prepare(contractSpecs)
  return store
}

storeContract('mongodb', open, skip)

test('mongodb: a standalone is refused with the remedy', { skip }, async () => {
  await using standalone = await startMongo({ flags: ['--standalone'] })
  await assert.rejects(openMongoStore({ uri: standalone.uri, databaseName: 'x' }), { code: 'preflight', hint: /rs\.initiate/ })
})

test('mongodb: an unreachable server and a malformed URI are told apart, without the password', { skip }, async () => {
  await assert.rejects(openMongoStore({ uri: 'mongodb://u:hunter2@127.0.0.1:1/x', databaseName: 'x' }), { code: 'unreachable' })
  await assert.rejects(openMongoStore({ uri: 'http://u:hunter2@host', databaseName: 'x' }), (error: Error & { code: string }) => {
    assert.equal(error.code, 'config')
    assert.doesNotMatch(`${error.message} ${(error.cause as Error).message}`, /hunter2/)
    return true
  })
})

test('mongodb: cut-over swaps all collections, goes on after an interruption, and undo swaps them back', { skip }, async (t) => {
  const databaseName = `test-${randomUUID()}`
  const live = await open(t, databaseName)
  await live.commit([{ insert: 'things', document: thing('old') }])
  await using exchange = await openMongoExchange({ uri: await serverUri(), databaseName })
  const staging = await exchange.stage('r1', contractSpecs)
  const odd = oddDocument()
  await staging.createCollection({ name: 'things', type: 'collection', options: buildDocument([]), indexes: [oddIndex()] })
  await staging.load('things', odd)
  await staging.createCollection({ name: 'only_in_bundle', type: 'collection', options: buildDocument([]), indexes: [] })
  await staging.finish()

  await exchange.cutOver('r1')
  await exchange.cutOver('r1')
  await using snapshot = await live.snapshot()
  assert.deepEqual(
    snapshot.collections.map((info) => info.name),
    ['only_in_bundle', 'things'],
  )
  const blocks = await Array.fromAsync(snapshot.read('things'))
  assert.equal(toExtendedJson(Buffer.concat(blocks)), toExtendedJson(odd))
  const index = snapshot.collections[1]?.indexes.map(toExtendedJson).find((text) => text.includes('odd_order')) ?? ''
  assert.match(index, /"key":\{"b":.*"1":/)

  await exchange.goBack('r1')
  assert.deepEqual(
    (await live.find('things')).items.map((found) => found._id),
    ['old'],
  )
})

/** The server keeps key order and far dates; duplicate keys are dropped by some servers and so not asserted here. */
function oddDocument(): Buffer {
  return buildDocument([
    ['_id', rawString('odd')],
    ['b', rawInt32(1)],
    ['1', rawInt32(2)],
    ['at', { type: bsonType.date, bytes: int64Bytes(9_223_372_036_854_775_000n) }],
    ['_bsontype', rawString('ObjectId')],
  ])
}

function oddIndex(): Buffer {
  const key = buildDocument([
    ['b', rawInt32(1)],
    ['1', rawInt32(1)],
  ])
  return buildDocument([
    ['v', rawInt32(2)],
    ['key', rawDocument(key)],
    ['name', rawString('odd_order')],
    ['sparse', rawBoolean(true)],
  ])
}

test('mongodb: answers are about 2 MB, however small the documents are, and every document is in one of them', {
  skip,
}, async (t) => {
  const store = await open(t)
  const client = await MongoClient.connect(await serverUri())
  t.after(() => client.close())
  const count = 9_000
  const text = 'x'.repeat(1_000)
  const documents = Array.from({ length: count }, (_, n) => ({ ...thing(String(n)), text }))
  await client.db(store.databaseName).collection<{ _id: string }>('things').insertMany(documents)
  await using snapshot = await store.snapshot()
  const answers = await Array.fromAsync(snapshot.read('things'), (answer) => splitDocuments(answer).toArray().length)
  assert.equal(answers[0], 500)
  assert.ok((answers[1] ?? 0) > 1_900 && (answers[1] ?? 0) < 2_100, String(answers))
  assert.equal(
    answers.reduce((sum, length) => sum + length, 0),
    count,
  )
})

test('mongodb: a snapshot that a server does not hold is never trusted', { skip }, async (t) => {
  const store = await open(t)
  const client = await MongoClient.connect(await serverUri())
  t.after(() => client.close())
  await using snapshot = await store.snapshot()
  await client.db(store.databaseName).collection('new_collection').insertOne({})
  await assert.rejects(snapshot.prove(), { code: 'preflight' })
})

test('mongodb: an index that is made or removed while a dump runs is noticed', { skip }, async (t) => {
  const store = await open(t)
  const client = await MongoClient.connect(await serverUri())
  t.after(() => client.close())
  const things = client.db(store.databaseName).collection('things')
  for (const change of [() => things.createIndex({ later: 1 }), () => things.dropIndex('later_1')])
    for (const isQuiesced of [false, true]) {
      await using snapshot = await store.snapshot({ isQuiesced })
      await snapshot.prove()
      await (isQuiesced ? things.createIndex({ other: 1 }) : change())
      await assert.rejects(snapshot.prove(), { code: 'preflight' })
      if (isQuiesced) await things.dropIndex('other_1')
    }
})

test('mongodb: a dump reads the member that the preference names, and waits until it has caught up', { skip }, async (t) => {
  const { port } = new URL((await serverUri()).replace('mongodb:', 'http:'))
  await using primary = await startMongoProxy(Number(port))
  await using secondary = await startMongoProxy(Number(port))
  const reads = { primary: 0, secondary: 0 }
  const member = (role: 'primary' | 'secondary', own: string) => (command: Record<string, unknown>) => {
    if (command.hello === 1 || command.ismaster === 1 || command.isMaster === 1)
      return { answer: helloOf(role === 'primary', [primary.address, secondary.address], own) }
    if (command.find === 'things') reads[role]++
    return undefined
  }
  primary.judge = member('primary', primary.address)
  secondary.judge = member('secondary', secondary.address)
  const uri = `mongodb://${primary.address},${secondary.address}/?replicaSet=rs0`
  const open = async (readPreference: 'primary' | 'secondary') => {
    const store = await openMongoStore({ uri, databaseName: `test-${randomUUID()}`, readPreference })
    t.after(() => store.close())
    await store.prepare(contractSpecs)
    await store.commit([{ insert: 'things', document: thing('a') }])
    return store
  }
  for (const readPreference of ['primary', 'secondary'] as const) {
    const store = await open(readPreference)
    reads.primary = reads.secondary = 0
    await using view = await store.snapshot({ isQuiesced: true })
    assert.equal((await Array.fromAsync(view.read('things'))).length, 1)
    await view.prove()
    assert.deepEqual(reads, { primary: 0, secondary: 0, [readPreference]: 1 })
    await view[Symbol.asyncDispose]()
  }
  // This server holds no snapshot session, and a transaction is not to be had at a secondary.
  await assert.rejects((await open('secondary')).snapshot(), { code: 'preflight', hint: /quiesced/ })
})

function helloOf(isPrimary: boolean, hosts: string[], me: string): Record<string, unknown> {
  const role = isPrimary
    ? { isWritablePrimary: true, ismaster: true }
    : { isWritablePrimary: false, ismaster: false, secondary: true }
  const wire = {
    minWireVersion: 0,
    maxWireVersion: 25,
    maxBsonObjectSize: 16_777_216,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
  }
  return {
    ok: 1,
    helloOk: true,
    setName: 'rs0',
    setVersion: 1,
    hosts,
    me,
    primary: hosts[0],
    logicalSessionTimeoutMinutes: 30,
    ...wire,
    ...role,
  }
}

test('mongodb: the URI of one member keeps user and options', () => {
  const one = uriOfMember('mongodb://u:p%40w@a:1,b:2/cap?replicaSet=rs0&readPreference=secondary', 'b:2', undefined)
  assert.equal(one, 'mongodb://u:p%40w@b:2/cap?replicaSet=rs0&directConnection=true')
  const srv = uriOfMember('mongodb+srv://u:p@cluster.example.org', 'b:2', 'admin')
  assert.equal(srv, 'mongodb://u:p@b:2/?tls=true&authSource=admin&directConnection=true')
})
