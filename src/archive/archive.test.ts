import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { serialize } from 'bson'
import { fromExtendedJson } from '../document/from-extended-json.ts'
import { buildDocument, int64Bytes, rawInt32 } from '../document/raw-builder.ts'
import { bsonType, splitDocuments } from '../document/raw-document.ts'
import { toExtendedJson } from '../document/to-extended-json.ts'
import type { CollectionInfo, DocumentBlock, NamespaceEnd, Prelude } from './format.ts'
import { readArchive } from './read-archive.ts'
import { writeArchive } from './write-archive.ts'

const museum = new URL('../../test/bundles/', import.meta.url)
const large = gunzipSync(await readFile(new URL('mongodump-100.8.archive.gz', museum)))
const small = await readFile(new URL('mongodump-100.8-small.archive', museum))
const expected = JSON.parse(await readFile(new URL('mongodump-100.8.expected.json', museum), 'utf8')) as Record<string, Expected>

interface Expected {
  type: string
  options: Record<string, unknown>
  indexes: { name: string }[]
  count: { $numberInt: string }
  documents?: unknown[]
}

async function* inPieces(bytes: Buffer, size = 65_536): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size)
}

async function readWhole(bytes: Buffer, pieceBytes?: number) {
  const blocks: DocumentBlock[] = []
  const ends: NamespaceEnd[] = []
  let prelude: Prelude | undefined
  for await (const event of readArchive(inPieces(bytes, pieceBytes))) {
    if (event.kind === 'prelude') prelude = event.prelude
    if (event.kind === 'documents') blocks.push(event)
    if (event.kind === 'end') ends.push(event)
  }
  assert.ok(prelude)
  return { prelude, blocks, ends }
}

type Archive = Awaited<ReturnType<typeof readWhole>>

async function rewrite({ prelude, blocks, ends }: Archive): Promise<Buffer> {
  async function* all(): AsyncGenerator<DocumentBlock> {
    yield* blocks
    for (const { database, collection } of ends) yield { database, collection, documents: Buffer.alloc(0) }
  }
  const parts: Buffer[] = []
  for await (const part of writeArchive(prelude, all())) parts.push(part)
  return Buffer.concat(parts)
}

function documentsOf(archive: Archive, collection: string): Buffer {
  return Buffer.concat(archive.blocks.filter((block) => block.collection === collection).map((block) => block.documents))
}

/** The expectation file names a large blob of one repeated byte ("1000000 bytes 0xab") instead of printing it. */
function withNamedBlobs(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (_key, member) => {
    const blob = Buffer.from(member?.$binary?.base64 ?? '', 'base64')
    if (blob.length < 1000 || blob.some((byte) => byte !== blob[0])) return member
    return `${blob.length} bytes 0x${blob.toString('hex', 0, 1)}`
  })
}

for (const pieceBytes of [61, 65_536]) {
  test(`the archive of the stock tool is read exactly, in pieces of ${pieceBytes} bytes`, async () => {
    const archive = await readWhole(large, pieceBytes)
    assert.deepEqual(archive.prelude.collections.map(({ info }) => info.name).sort(), Object.keys(expected).sort())
    for (const { info } of archive.prelude.collections) assertCollection(archive, info)
  })
}

function assertCollection(archive: Archive, info: CollectionInfo): void {
  const wanted = expected[info.name] as Expected
  const count = Number(wanted.count?.$numberInt)
  assert.equal(info.type, wanted.type, info.name)
  assert.deepEqual(JSON.parse(toExtendedJson(info.options)), wanted.options, info.name)
  assert.deepEqual(
    info.indexes.map((index) => JSON.parse(toExtendedJson(index))),
    wanted.indexes ?? [],
    info.name,
  )
  const documents = [...splitDocuments(documentsOf(archive, info.name))]
  if (wanted.type === 'view') return
  assert.equal(documents.length, count, info.name)
  assert.equal(archive.ends.find((end) => end.collection === info.name)?.count, count)
  if (wanted.documents === undefined) return
  assert.deepEqual(withNamedBlobs(documents.map((bytes) => JSON.parse(toExtendedJson(bytes)))), wanted.documents, info.name)
}

test('rewriting the archives gives the same documents, CRC, options and indexes per namespace', async () => {
  for (const bytes of [large, small]) {
    const before = await readWhole(bytes)
    const after = await readWhole(await rewrite(before))
    assert.deepEqual(after.ends, before.ends)
    assert.deepEqual(after.prelude, before.prelude)
    for (const { collection } of before.ends) assert.ok(documentsOf(after, collection).equals(documentsOf(before, collection)))
  }
})

test('every document of the archives survives Extended JSON byte for byte', async () => {
  const { blocks } = await readWhole(large)
  for (const block of blocks.slice(0, 60)) {
    for (const bytes of splitDocuments(block.documents)) {
      const again = fromExtendedJson(toExtendedJson(bytes))
      assert.ok(again.equals(bytes), toExtendedJson(bytes).slice(0, 300))
    }
  }
})

test('key order, duplicate keys and dates beyond JavaScript survive in documents and index specifications', async () => {
  const farDate = { type: bsonType.date, bytes: int64Bytes(9_223_372_036_854_775_000n) }
  const odd = buildDocument([
    ['b', rawInt32(1)],
    ['1', rawInt32(2)],
    ['b', rawInt32(3)],
    ['at', farDate],
    ['_bsontype', rawInt32(4)],
    ['__proto__', rawInt32(5)],
  ])
  const info: CollectionInfo = { name: 'c', type: 'collection', options: odd, indexes: [odd, odd] }
  const archive: Archive = {
    prelude: { serverVersion: '8.0', toolVersion: 'x', collections: [{ database: 'd', info }] },
    blocks: [{ database: 'd', collection: 'c', documents: odd }],
    ends: [{ database: 'd', collection: 'c', count: 1, bytes: odd.length, crc: 0n }],
  }
  const again = await readWhole(await rewrite(archive))
  assert.ok(documentsOf(again, 'c').equals(odd))
  assert.deepEqual(again.prelude.collections[0]?.info, info)
})

test('every cut of an archive is refused as truncated', async () => {
  for (let size = 4; size < small.length; size++) {
    await assert.rejects(readWhole(small.subarray(0, size)), { code: 'archive-truncated' }, `cut at ${size}`)
  }
})

test('every flipped bit of an archive is refused', async () => {
  const originals = JSON.stringify(await summary(small))
  for (let bit = 0; bit < small.length * 8; bit++) {
    const flipped = Buffer.from(small)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    const result = await summary(flipped).catch((error: { code?: string }) => error)
    if (result instanceof Error) assert.ok('code' in result, `bit ${bit}: ${result.stack}`)
    else if (bit >> 3 >= small.indexOf('ffffffff', 0, 'hex'))
      assert.notEqual(JSON.stringify(result), originals, `bit ${bit} went unseen`)
  }
})

async function summary(bytes: Buffer) {
  const { ends, blocks } = await readWhole(bytes)
  return {
    ends: ends.map((end) => ({ ...end, crc: String(end.crc) })),
    blocks: blocks.map((block) => block.documents.toString('hex')),
  }
}

const refusals: [name: string, code: string, damage: (bytes: Buffer) => Buffer][] = [
  ['a foreign file', 'archive-foreign', () => Buffer.from('PK\x03\x04 this is a zip file')],
  ['an empty file', 'archive-foreign', () => Buffer.alloc(0)],
  ['an unknown version', 'archive-version', (bytes) => replaced(bytes, Buffer.from('0.1\0'), Buffer.from('0.2\0'))],
  [
    'a wrong CRC',
    'archive-checksum',
    (bytes) => replaced(bytes, Buffer.from('7d2ee49e24dd510f', 'hex'), Buffer.from('7d2ee49e24dd510e', 'hex')),
  ],
  [
    'a changed document',
    'archive-checksum',
    (bytes) => replaced(bytes, Buffer.from('0e000000105f69640002', 'hex'), Buffer.from('0e000000105f69640003', 'hex')),
  ],
  [
    'an oversized document',
    'archive-oversized',
    (bytes) => replaced(bytes, Buffer.from('0e000000105f69640001', 'hex'), Buffer.from('00000070105f69640001', 'hex')),
  ],
]

for (const [name, code, damage] of refusals) {
  test(`${name} is refused as ${code}`, () => assert.rejects(readWhole(damage(small)), { code }))
}

function replaced(bytes: Buffer, from: Buffer, to: Buffer): Buffer {
  const start = bytes.indexOf(from)
  assert.ok(start >= 0)
  return Buffer.concat([bytes.subarray(0, start), to, bytes.subarray(start + from.length)])
}

test('a claimed length allocates nothing', async () => {
  const claim = replaced(small, Buffer.from('0e000000105f69640001', 'hex'), Buffer.from('00400001105f69640001', 'hex'))
  const before = process.memoryUsage().arrayBuffers
  await assert.rejects(readWhole(claim), { code: 'archive-truncated' })
  assert.ok(process.memoryUsage().arrayBuffers - before < 4_000_000)
})

test('objects of the bson library and raw documents agree on the wire', () => {
  const bytes = Buffer.from(serialize({ a: 1, b: 'text', c: [1.5, true, null], d: new Date(0) }))
  assert.ok(fromExtendedJson(toExtendedJson(bytes)).equals(bytes))
})
