import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Document, Long, MongoClient, type Timestamp } from 'mongodb'
import { audited, hostActor } from '../../src/audit/audit.ts'
import { startMongoProxy } from '../mongo-proxy.ts'
import { needs, startMongo } from '../servers.ts'
import { mongoEnvironment, newHost } from '../test-host.ts'

test('a server whose snapshot moves is not believed, at the beginning or at the end', needs('SECANTUSD'), async () => {
  await using server = await startMongo()
  await using proxy = await startMongoProxy(server.port)
  await using host = await newHost(mongoEnvironment(proxy.uri))
  await host.furnish(3)
  await host.stop()
  const seesAll = (command: Command) => (isHeldRead(command) ? found(command, [command.filter]) : undefined)
  proxy.judge = seesAll
  const moving = await host.ok('backup', 'create', '--json')
  assert.deepEqual(moving.json.notes, ['the server gives no snapshot that holds: every writer paused instead'])

  const refusesMore = (command: Command) =>
    command.getMore !== undefined && command.collection === 'certautopilot_marker'
      ? { answer: { ok: 0, code: 72, codeName: 'InvalidOptions', errmsg: 'no cursors in a snapshot' } }
      : undefined
  proxy.judge = refusesMore
  const refusing = await host.ok('backup', 'create', '--json')
  assert.deepEqual(refusing.json.notes, moving.json.notes, 'it is known before the dump begins')

  let hasBegun = false
  proxy.judge = (command: Command) => {
    hasBegun ||= command.find === 'certificates'
    return hasBegun ? seesAll(command) : undefined
  }
  const bundles = await host.bundles()
  const lost = await host.cli('backup', 'create')
  assert.ok(hasBegun)
  assert.equal(lost.exitCode, 24, lost.stdout)
  assert.match(lost.stderr, /the snapshot of the database did not hold while it was read/)
  assert.deepEqual(await host.bundles(), bundles)
})

test('in a snapshot session every read says of which moment, also the second answer of a cursor', needs('SECANTUSD'), async () => {
  await using server = await startMongo()
  await using proxy = await startMongoProxy(server.port)
  await using host = await newHost(mongoEnvironment(proxy.uri))
  await host.furnish(3)
  await host.stop()
  await host.withStore(async (store) => {
    for (let n = 0; n < 20; n++)
      await store.commit(Array.from({ length: 100 }, () => audited(hostActor, 'test.event', 'so that there is a second answer')))
  })
  // This server knows no snapshot sessions: of the markers the proxy answers as one that does, the rest is read from the server.
  const moment = await timeOf(server.uri)
  const reads: Command[] = []
  let before: unknown
  proxy.judge = (command: Command) => {
    if (command.autocommit !== undefined || command.readConcern?.level !== 'snapshot') return undefined
    if (command.find !== 'certautopilot_marker') {
      reads.push(command)
      return undefined
    }
    before ??= command.filter?._id
    return found(command, command.filter?._id === before ? [command.filter] : [], moment)
  }
  const taken = await host.ok('backup', 'create', '--json')
  const shown = await host.ok('backup', 'show', String(taken.json.bundle), '--json')
  const point = (shown.json.manifest as { point_in_time: Record<string, unknown> }).point_in_time
  assert.deepEqual([point.way, point.is_proven, point.cluster_time], ['snapshot session', true, `${moment.t}:${moment.i}`])
  assert.ok(reads.some(({ getMore, collection }) => getMore !== undefined && collection === 'audit_logs'))
  for (const { readConcern } of reads) assert.equal(String(readConcern?.atClusterTime), String(moment))
  await host.ok('backup', 'verify', String(taken.json.bundle))
})

test(
  'a backup whose writers would pause for too long fails, publishes nothing, and lets them go on',
  needs('SECANTUSD'),
  async () => {
    await using server = await startMongo()
    await using proxy = await startMongoProxy(server.port)
    const direct = mongoEnvironment(server.uri)
    await using host = await newHost(direct)
    await host.furnish(2)
    // The command reads through the proxy, the service writes without it.
    proxy.judge = async (command) => {
      if (command.find === 'certificates') await new Promise((resolve) => setTimeout(resolve, 4_000))
      return undefined
    }
    const long = {
      CERTAUTOPILOT_DATABASE_URI: proxy.uri,
      CERTAUTOPILOT_BACKUP_CONSISTENCY: 'quiesced',
      CERTAUTOPILOT_BACKUP_MAX_WRITE_PAUSE_SECONDS: '2',
    }
    const failed = await host.cliWith(long, 'backup', 'create')
    assert.equal(failed.exitCode, 24, failed.stdout + failed.stderr)
    assert.match(failed.stderr, /the writers were paused for 2\.0 s, the longest they may be/)
    assert.deepEqual(await host.bundles(), [])
    await host.ok('cert', 'issue', 'afterwards.example.org')
    await host.ok('backup', 'create')
  },
)

type Command = Document & { filter?: Document; readConcern?: { level?: string; atClusterTime?: Timestamp } }

/** A read of a marker in the snapshot, of a session or of a transaction, whose first command alone says so. */
function isHeldRead({ find, autocommit, readConcern }: Command): boolean {
  return find === 'certautopilot_marker' && (autocommit === false || readConcern?.level === 'snapshot')
}

function found(command: Command, documents: unknown[], atClusterTime?: Timestamp): { answer: Document } {
  const cursor = { id: Long.ZERO, ns: `${command.$db}.${command.find}`, firstBatch: documents }
  return { answer: { ok: 1, cursor: { ...cursor, ...(atClusterTime === undefined ? {} : { atClusterTime }) } } }
}

async function timeOf(uri: string): Promise<Timestamp> {
  await using client = await new MongoClient(uri).connect()
  const { operationTime } = await client.db('admin').command({ ping: 1 })
  return operationTime as Timestamp
}
