import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { MongoClient } from 'mongodb'
import { freePort } from './acme-servers.ts'
import { findProgram } from './servers.ts'
import { until } from './test-host.ts'

export interface ReplicaSet extends AsyncDisposable {
  readonly uri: string
}

const setName = 'certautopilot-test'
/** States of members that are where they should be: primary and secondary. */
const settled = new Set([1, 2])

/** Starts real servers (`mongod`) as one replica set on free ports, with data folders that go with them. */
export async function startReplicaSet(members: 1 | 3): Promise<ReplicaSet> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-mongod-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const ports: number[] = []
  for (let member = 0; member < members; member++) {
    const port = await freePort()
    const child = await startMember(port, join(folder, String(member)))
    stack.defer(() => ended(child))
    ports.push(port)
  }
  const hosts = ports.map((port) => `127.0.0.1:${port}`)
  await initiate(hosts)
  const running = stack.move()
  return {
    uri: `mongodb://${hosts.join(',')}/?replicaSet=${setName}`,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

async function startMember(port: number, folder: string): Promise<ChildProcess> {
  await mkdir(folder)
  const flags = ['--port', String(port), '--bind_ip', '127.0.0.1', '--dbpath', folder, '--replSet', setName]
  const child = spawn(findProgram('MONGOD') as string, [...flags, '--wiredTigerCacheSizeGB', '0.25'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`mongod ended with ${code} before it waited for connections`)))
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (/waiting for connections/i.test(line)) resolve()
    })
  })
  return child
}

async function ended(child: ChildProcess): Promise<void> {
  const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
  child.kill('SIGKILL')
  await exited
}

async function initiate(hosts: readonly string[]): Promise<void> {
  await using client = await new MongoClient(`mongodb://${hosts[0]}/?directConnection=true`).connect()
  const admin = client.db('admin')
  await admin.command({ replSetInitiate: { _id: setName, members: hosts.map((host, _id) => ({ _id, host })) } })
  await until(async () => {
    const { members } = (await admin.command({ replSetGetStatus: 1 })) as unknown as { members: { state: number }[] }
    return members.some(({ state }) => state === 1) && members.every(({ state }) => settled.has(state))
  }, 'the replica set has a primary, and every other member follows it')
}
