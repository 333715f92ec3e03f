import { randomUUID } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import type { CollectionInfo } from '../../archive/format.ts'
import { AppError, messageOf } from '../../core/app-error.ts'
import type { Snapshot } from '../store.ts'
import { readCatalogue, tableName } from './tables.ts'

const blockBytes = 256 * 1024

/** Opens a read transaction on a connection of its own; WAL mode keeps its view while others write. */
export function openSnapshot(path: string): Snapshot {
  const reader = new DatabaseSync(path, { readOnly: true, timeout: 10_000 })
  try {
    reader.exec('PRAGMA cache_size = -2000; BEGIN')
    // The first read fixes the view: what was acknowledged until now is in it.
    const takenAt = new Date()
    const collections = readCatalogue(reader)
    return new EmbeddedSnapshot(path, reader, collections, takenAt)
  } catch (error) {
    reader.close()
    throw error
  }
}

class EmbeddedSnapshot implements Snapshot {
  readonly takenAt: Date
  readonly serverVersion = 'embedded'
  readonly way = 'read transaction'
  readonly clusterTime = ''
  readonly windowMs = undefined
  readonly isConcurrent = false
  readonly collections: readonly CollectionInfo[]
  readonly #path: string
  readonly #reader: DatabaseSync
  readonly #marker = randomUUID()

  constructor(path: string, reader: DatabaseSync, collections: readonly CollectionInfo[], takenAt: Date) {
    this.takenAt = takenAt
    this.#path = path
    this.#reader = reader
    this.collections = collections
    withWriter(path, (writer) => writer.prepare('INSERT INTO snapshot_marker (id) VALUES (?)').run(this.#marker))
  }

  async *read(collection: string): AsyncGenerator<Buffer> {
    const statement = this.#reader.prepare(`SELECT doc FROM ${tableName(collection)} ORDER BY rid`)
    statement.setReturnArrays(true)
    let block = Buffer.allocUnsafe(blockBytes)
    let used = 0
    for (const row of statement.iterate() as Iterable<unknown>) {
      const document = (row as [Uint8Array])[0]
      if (used + document.length > block.length) {
        if (used > 0) yield block.subarray(0, used)
        block = Buffer.allocUnsafe(Math.max(blockBytes, document.length))
        used = 0
      }
      block.set(document, used)
      used += document.length
    }
    if (used > 0) yield block.subarray(0, used)
  }

  async dataBytes(): Promise<undefined> {}

  async prove(): Promise<void> {
    const seenInside = this.#sees(this.#reader)
    const seenOutside = withWriter(this.#path, (writer) => this.#sees(writer))
    if (seenInside || !seenOutside) {
      throw new AppError('preflight', 'the snapshot of the database did not hold: a later write is visible in it, or was lost', {
        hint: 'stop the service and run the backup again',
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#reader.isOpen) return
    this.#reader.close()
    withWriter(this.#path, (writer) => writer.prepare('DELETE FROM snapshot_marker WHERE id = ?').run(this.#marker))
  }

  #sees(connection: DatabaseSync): boolean {
    return connection.prepare('SELECT 1 FROM snapshot_marker WHERE id = ?').get(this.#marker) !== undefined
  }
}

/** The marker is the one thing a backup writes: in a short transaction of its own, beside a running service. */
function withWriter<T>(path: string, run: (writer: DatabaseSync) => T): T {
  let writer: DatabaseSync | undefined
  try {
    writer = new DatabaseSync(path, { timeout: 10_000 })
    return run(writer)
  } catch (error) {
    throw new AppError('preflight', `cannot write the snapshot marker to "${path}": ${messageOf(error)}`, {
      hint: 'run the backup as the owner of the database file',
      cause: error,
    })
  } finally {
    writer?.close()
  }
}
