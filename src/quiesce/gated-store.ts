import type { Change, Store } from '../store/store.ts'

/** Leases and signs of life are written during a pause as well: the pause itself is one. A restore empties both. */
const alwaysOpen = new Set(['locks', 'heartbeats'])

/** A store whose changes go through a gate; what only reads does not. */
export function gatedStore(store: Store, gate: { run<T>(work: () => Promise<T>): Promise<T> }): Store {
  return {
    engine: store.engine,
    databaseName: store.databaseName,
    prepare: (collections) => store.prepare(collections),
    get: (collection, id) => store.get(collection, id),
    find: (collection, query) => store.find(collection, query),
    count: (collection, where) => store.count(collection, where),
    commit: (changes) => (changes.every(isAlwaysOpen) ? store.commit(changes) : gate.run(() => store.commit(changes))),
    claim: (collection, query, set) => gate.run(() => store.claim(collection, query, set)),
    removeExpired: (now) => gate.run(() => store.removeExpired(now)),
    snapshot: (options) => store.snapshot(options),
    ping: () => store.ping(),
    close: () => store.close(),
  }
}

function isAlwaysOpen(change: Change): boolean {
  const collection = 'insert' in change ? change.insert : 'replace' in change ? change.replace : change.remove
  return alwaysOpen.has(collection)
}
