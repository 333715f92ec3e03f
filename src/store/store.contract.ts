import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { splitDocuments } from '../document/raw-document.ts'
import { toExtendedJson } from '../document/to-extended-json.ts'
import { type CollectionSpec, findAll, type Store, type StoredDocument } from './store.ts'

export const thingSpec: CollectionSpec = {
  name: 'things',
  indexes: [
    { name: 'rank', key: { rank: 1, _id: 1 } },
    { name: 'unique', key: { tag: 1 }, unique: true },
    { name: 'state', key: { state: 1, due: 1 } },
    { name: 'label', key: { label: 1 } },
    { name: 'expiry', key: { expires_at: 1 }, expireAfterSeconds: 60 },
  ],
}
const otherSpec: CollectionSpec = { name: 'others', indexes: [] }
export const contractSpecs: CollectionSpec[] = [thingSpec, otherSpec]

export interface Thing extends StoredDocument {
  tag: string
  rank?: number
  state?: string
  due?: Date
  label?: string
  expires_at?: Date
  owner?: string
}

/** What every engine promises. `open` gives an empty, prepared store and closes it with the test. */
export function storeContract(engine: string, open: (t: TestContext) => Promise<Store>, skip: string | false = false): void {
  const promise = (name: string, run: (store: Store, t: TestContext) => Promise<void>) =>
    test(`${engine}: ${name}`, { skip }, async (t) => run(await open(t), t))

  promise('what was inserted is read back with its types', async (store) => {
    const document = {
      _id: 'a',
      tag: 'a',
      at: new Date(5),
      data: Buffer.from([1, 2]),
      list: [1, 'x', null],
      yes: true,
      big: 2 ** 40,
    }
    await store.commit([{ insert: 'things', document }])
    assert.deepEqual(await store.get('things', 'a'), document)
    assert.equal(await store.get('things', 'b'), undefined)
  })

  promise('an id or unique value that exists is refused', async (store) => {
    await store.commit([{ insert: 'things', document: thing('a') }])
    await assert.rejects(store.commit([{ insert: 'things', document: thing('a', { tag: 'other' }) }]), { code: 'exists' })
    await assert.rejects(store.commit([{ insert: 'things', document: thing('b', { tag: 'a' }) }]), { code: 'exists' })
  })

  promise('a transaction changes all documents or none', async (store) => {
    await store.commit([{ insert: 'things', document: thing('a') }])
    const changes = [
      { insert: 'others', document: { _id: 'x' } },
      { remove: 'things', id: 'a' },
      { remove: 'things', id: 'missing' },
    ]
    await assert.rejects(store.commit(changes), { code: 'conflict' })
    assert.equal(await store.get('others', 'x'), undefined)
    assert.ok(await store.get('things', 'a'))
    await store.commit(changes.slice(0, 2))
    assert.ok(await store.get('others', 'x'))
    assert.equal(await store.get('things', 'a'), undefined)
  })

  promise('of many compare-and-set changes exactly one wins', async (store) => {
    await store.commit([{ insert: 'things', document: thing('a', { owner: 'nobody' }) }])
    const tries = ['p', 'q', 'r', 's', 't'].map((owner) =>
      store.commit([{ replace: 'things', document: thing('a', { owner }), expect: { owner: 'nobody' } }]).then(
        () => owner,
        () => undefined,
      ),
    )
    const winners = (await Promise.all(tries)).filter((owner) => owner !== undefined)
    assert.equal(winners.length, 1)
    assert.equal((await store.get<Thing>('things', 'a'))?.owner, winners[0])
  })

  promise('transactions of several requests do not mix', async (store) => {
    await store.commit([{ insert: 'others', document: { _id: 'sum' } }])
    const runs = Array.from({ length: 40 }, (_, n) => {
      const good = { insert: 'things', document: thing(`good-${n}`) }
      const poison = { remove: 'things', id: `missing-${n}` }
      const bad = { insert: 'things', document: thing(`bad-${n}`) }
      return Promise.allSettled([store.commit([good]), store.commit([bad, poison])])
    })
    const results = (await Promise.all(runs)).map(([good, bad]) => `${good.status} ${bad.status}`)
    assert.deepEqual(new Set(results), new Set(['fulfilled rejected']))
    assert.equal(await store.count('things'), 40)
  })

  promise('pages follow a total order, forward and backward, without gaps', async (store) => {
    const changes = Array.from({ length: 25 }, (_, n) => ({ insert: 'things', document: thing(`t${n}`, { rank: n % 4 }) }))
    await store.commit(changes)
    for (const direction of ['asc', 'desc'] as const) {
      const seen: Thing[] = []
      for await (const found of findAll<Thing>(store, 'things', { sort: { field: 'rank', direction }, limit: 7 })) seen.push(found)
      const sorted = seen.toSorted((a, b) => (a.rank ?? 0) - (b.rank ?? 0) || (a._id < b._id ? -1 : 1))
      assert.equal(seen.length, 25)
      assert.deepEqual(seen, direction === 'asc' ? sorted : sorted.toReversed())
    }
  })

  promise('conditions: equality, ranges of dates, lists, contained text, absence', async (store) => {
    await store.commit([
      { insert: 'things', document: thing('a', { state: 'new', due: new Date(1000), label: 'mail.example.org' }) },
      { insert: 'things', document: thing('b', { state: 'new', due: new Date(2000), label: 'www.example.org' }) },
      { insert: 'things', document: thing('c', { state: 'old', label: 'a.b' }) },
    ])
    const ids = async (where: Parameters<Store['count']>[1]) => {
      const page = await store.find('things', { where: where ?? {} })
      assert.equal(await store.count('things', where), page.items.length)
      return page.items.map((found) => found._id).join()
    }
    assert.equal(await ids({ state: 'new', due: { lte: new Date(1000) } }), 'a')
    assert.equal(await ids({ due: { gt: new Date(1000), lt: new Date(3000) } }), 'b')
    assert.equal(await ids({ state: { in: ['old', 'other'] } }), 'c')
    assert.equal(await ids({ label: { contains: ['.example.'] } }), 'a,b')
    assert.equal(await ids({ label: { contains: ['a.b'] } }), 'c')
    assert.equal(await ids({ due: null }), 'c')
  })

  promise('a query on a field without index, and a foreign cursor, are refused', async (store) => {
    await assert.rejects(store.find('things', { where: { owner: 'x' } }), { code: 'usage' })
    await assert.rejects(store.find('things', { sort: { field: 'owner', direction: 'asc' } }), { code: 'usage' })
    await assert.rejects(store.find('things', { after: 'nonsense' }), { code: 'usage' })
  })

  promise('of many claims each takes a different document', async (store) => {
    await store.commit(
      Array.from({ length: 10 }, (_, n) => ({ insert: 'things', document: thing(`t${n}`, { state: 'queued', due: new Date(n) }) })),
    )
    const query = { where: { state: 'queued', due: { lte: new Date(100) } }, sort: { field: 'due', direction: 'asc' } } as const
    const claims = await Promise.all(
      Array.from({ length: 15 }, (_, n) => store.claim<Thing>('things', query, { state: 'taken', owner: `w${n}` })),
    )
    const taken = claims.filter((found) => found !== undefined)
    assert.equal(new Set(taken.map((found) => found._id)).size, 10)
    assert.ok(taken.every((found) => found.state === 'taken'))
    assert.equal(await store.count('things', { state: 'queued' }), 0)
  })

  promise('a snapshot does not see what was written after it, and proves it', async (store) => {
    await store.commit(
      Array.from({ length: 3000 }, (_, n) => ({ insert: 'things', document: thing(`t${n}`, { label: 'x'.repeat(900) }) })),
    )
    await using snapshot = await store.snapshot()
    await store.commit([{ insert: 'things', document: thing('later') }])
    let count = 0
    for await (const block of snapshot.read('things')) {
      if (count === 0) await store.commit([{ insert: 'things', document: thing('during') }])
      for (const bytes of splitDocuments(block)) {
        assert.doesNotMatch(toExtendedJson(bytes).slice(0, 40), /later|during/)
        count++
      }
    }
    assert.equal(count, 3000)
    await snapshot.prove()
    assert.deepEqual(
      snapshot.collections.map((info) => info.name),
      ['others', 'things'],
    )
    const names = snapshot.collections[1]?.indexes.map((index) => JSON.parse(toExtendedJson(index)).name)
    assert.deepEqual(names?.toSorted(), ['_id_', 'expiry', 'label', 'rank', 'state', 'unique'])
  })

  promise('a view of a quiesced database reads several collections at once where it says so', async (store) => {
    await store.commit(
      Array.from({ length: 3000 }, (_, n) => ({ insert: 'things', document: thing(`t${n}`, { label: 'x'.repeat(900) }) })),
    )
    await store.commit(Array.from({ length: 2000 }, (_, n) => ({ insert: 'others', document: { _id: `o${n}` } })))
    await using view = await store.snapshot({ isQuiesced: true })
    const countOf = async (collection: string) => {
      let count = 0
      for await (const block of view.read(collection)) count += [...splitDocuments(block)].length
      return count
    }
    const counts = view.isConcurrent
      ? await Promise.all([countOf('things'), countOf('others')])
      : [await countOf('things'), await countOf('others')]
    assert.deepEqual(counts, [3000, 2000])
    await view.prove()
    await view[Symbol.asyncDispose]()
  })

  promise('preparing again, also by several at once, changes nothing', async (store) => {
    await store.commit([{ insert: 'things', document: thing('a') }])
    await Promise.all([store.prepare(contractSpecs), store.prepare(contractSpecs)])
    assert.equal(await store.count('things'), 1)
  })

  promise('what a TTL index declares as expired goes', async (store) => {
    if (store.engine === 'mongodb') return
    const now = new Date(1_000_000)
    await store.commit([
      { insert: 'things', document: thing('old', { expires_at: new Date(900_000) }) },
      { insert: 'things', document: thing('new', { expires_at: new Date(960_000) }) },
    ])
    await store.removeExpired(now)
    assert.deepEqual(
      (await store.find('things')).items.map((found) => found._id),
      ['new'],
    )
  })
}

export function thing(id: string, fields: Partial<Thing> = {}): Thing {
  return { _id: id, tag: id, ...fields }
}
