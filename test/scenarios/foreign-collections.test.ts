import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { Binary, Code, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } from 'bson'
import { type Db, MongoClient } from 'mongodb'
import { buildDocument, int32Bytes, rawString } from '../../src/document/raw-builder.ts'
import { toExtendedJson } from '../../src/document/to-extended-json.ts'
import { readRawCatalogue } from '../../src/store/mongodb/raw-catalogue.ts'
import { insertRaw } from '../../src/store/mongodb/raw-insert.ts'
import { startReplicaSet } from '../mongod.ts'
import { needs, startMongo } from '../servers.ts'
import { mongoEnvironment, newHost } from '../test-host.ts'

/** One of every type of BSON that the server takes, and the numbers that JavaScript would change. */
const everyType = {
  _id: 'every type',
  double: new Double(1),
  negativeZero: new Double(-0),
  text: 'Grüße, 日本, 😀',
  object: { b: 1, a: { list: [1, 'x', null] } },
  array: [new Int32(1), new Long('9007199254740993'), []],
  binary: Buffer.from([0, 1, 255]),
  uuid: new Binary(Buffer.alloc(16, 7), Binary.SUBTYPE_UUID),
  custom: new Binary(Buffer.from('x'), 0x80),
  id: new ObjectId('0123456789abcdef01234567'),
  yes: true,
  farDate: new Date(8_640_000_000_000_000),
  oldDate: new Date(-1),
  nothing: null,
  expression: /^a.*b$/im,
  code: new Code('return 1'),
  scopedCode: new Code('return x', { x: 1 }),
  int32: new Int32(-5),
  timestamp: new Timestamp({ t: 5, i: 7 }),
  int64: new Long('-9223372036854775808'),
  decimal: Decimal128.fromString('1.000'),
  least: new MinKey(),
  most: new MaxKey(),
  empty: '',
}

const servers = [
  { name: 'mongodb', start: () => startMongo(), skip: needs('SECANTUSD').skip },
  { name: 'mongod', start: () => startReplicaSet(1), skip: needs('MONGOD').skip },
]

for (const { name, start, skip } of servers) {
  test(`${name}: collections that are not ours survive dump and restore: every type, option, index and view`, {
    skip,
  }, async () => {
    await using server = await start()
    const environment = mongoEnvironment(server.uri)
    await using host = await newHost(environment)
    await host.furnish(1)
    await using client = await MongoClient.connect(server.uri)
    const database = client.db(environment.CERTAUTOPILOT_DATABASE_NAME)
    await makeForeign(database)
    const refused = await host.cli('backup', 'create')
    assert.equal(refused.exitCode, 24, 'no bundle that could not be restored')
    assert.match(refused.stderr, /"measured" is a time-series collection/)
    await database.collection('measured').drop()
    const before = await everythingForeign(database)
    assert.ok(before.catalogue.length >= foreign.size, `${before.catalogue.length} of ${foreign.size} are listed`)
    const bundle = await host.backup()
    await host.stop()
    await database.dropDatabase()
    await host.ok('restore', 'apply', join(host.paths.backups, bundle))
    const after = await everythingForeign(database)
    assert.deepEqual(after.catalogue, before.catalogue)
    assert.deepEqual(after.documents, before.documents)
    assert.equal((await database.collection('capped').options()).capped, true)
    await assert.rejects(database.collection('checked').insertOne({ name: 5 } as never), { code: 121 })
    assert.deepEqual(await database.collection('seen').find().toArray(), [{ _id: 'b', n: 2 }])
  })
}

/** Types that drivers write no more, and that databases hold all the same (bsonspec.org: deprecated). */
function oldTypes(): Buffer {
  const pointer = Buffer.concat([textBytes('elsewhere'), Buffer.alloc(12, 5)])
  return buildDocument([
    ['_id', rawString('old types')],
    ['undefined', { type: 0x06, bytes: Buffer.alloc(0) }],
    ['pointer', { type: 0x0c, bytes: pointer }],
    ['symbol', { type: 0x0e, bytes: textBytes('sign') }],
  ])
}

function textBytes(text: string): Buffer {
  const bytes = Buffer.from(`${text}\0`)
  return Buffer.concat([int32Bytes(bytes.length), bytes])
}

async function makeForeign(database: Db): Promise<void> {
  await database.collection('types').insertOne(everyType as never)
  await insertRaw(database, 'types', oldTypes())
  await database.createCollection('capped', { capped: true, size: 100_000, max: 10 })
  await database.collection('capped').insertMany([{ _id: 1 }, { _id: 2 }] as never)
  const validator = { $jsonSchema: { bsonType: 'object', properties: { name: { bsonType: 'string' } } } }
  await database.createCollection('checked', { validator, validationLevel: 'moderate', validationAction: 'error' })
  await database.collection('checked').insertOne({ _id: 'a', name: 'right' } as never)
  await database.createCollection('collated', { collation: { locale: 'de', strength: 2 } })
  await database.collection('collated').insertMany([{ _id: 'a' }, { _id: 'b' }] as never)
  const indexed = database.collection('indexed')
  await indexed.insertMany([
    { _id: 'a', n: 1, place: { type: 'Point', coordinates: [1, 2] }, at: new Date(1e12) },
    { _id: 'b', n: 2, place: { type: 'Point', coordinates: [3, 4] }, at: new Date(4e12) },
  ] as never)
  await indexed.createIndexes([
    { key: { n: 1 }, name: 'unique', unique: true },
    { key: { m: -1, n: 1 }, name: 'sparse', sparse: true },
    { key: { n: 1, x: 1 }, name: 'partial', partialFilterExpression: { n: { $gt: 1 } } },
    { key: { at: 1 }, name: 'ttl', expireAfterSeconds: 4_000_000_000 / 2 },
    { key: { s: 1 }, name: 'collated', collation: { locale: 'fr', strength: 1 } },
    { key: { '$**': 1 }, name: 'wildcard' },
    { key: { place: '2dsphere' }, name: 'sphere' },
    { key: { h: 1 }, name: 'hidden', hidden: true },
    { key: { spot: '2d' }, name: 'plane', min: -10, max: 10 },
  ] as never)
  await database.collection('chosen').insertOne({ _id: 'a', a: 1 } as never)
  await database.collection('chosen').createIndex({ '$**': 1 }, { wildcardProjection: { a: 1 } })
  // Not every server has these; where one has, they survive.
  for (const key of [{ word: 'text' }, { spread: 'hashed' }] as const)
    await indexed.createIndex(key).catch((error: Error) => assert.match(error.message, /not supported/))
  await database.createCollection('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true, name: 'by id' } })
  await database.collection('clustered').insertOne({ _id: 'a' } as never)
  await database.createCollection('measured', { timeseries: { timeField: 'at', metaField: 'of' } })
  await database.collection('measured').insertMany([{ _id: 'a', at: new Date(1e12), of: 'x', v: 1 }] as never)
  await database.createCollection('seen', { viewOn: 'indexed', pipeline: [{ $match: { n: 2 } }, { $project: { n: 1 } }] })
}

const foreign = new Set(['types', 'capped', 'checked', 'collated', 'indexed', 'seen', 'chosen', 'clustered'])

/** Catalogue and documents of what is not ours, from the bytes that the server sends. A UUID of a collection is its own. */
async function everythingForeign(database: Db): Promise<{ catalogue: unknown[]; documents: string[] }> {
  const infos = await readRawCatalogue(database, (name) => foreign.has(name))
  const catalogue = infos.map(({ name, type, options, indexes }) => {
    const described = indexes.map((index) => toExtendedJson(index)).sort()
    return { name, type, options: toExtendedJson(options), indexes: described }
  })
  const documents: string[] = []
  for (const { name, type } of infos) {
    if (type === 'view') continue
    for await (const bytes of database.collection(name).find({}, { raw: true }))
      documents.push(`${name} ${Buffer.from(bytes as unknown as Uint8Array).toString('hex')}`)
  }
  return { catalogue, documents }
}
