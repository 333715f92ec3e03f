import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after } from 'node:test'
import type { SocketClient } from '../src/backup/host/socket-client.ts'
import { type Run, type TestHost, until } from './test-host.ts'

export const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)

/** What every fault is run against: two good bundles, of which retention would remove one after the next success. */
export interface Ground {
  host: TestHost
  api: SocketClient
  /** Digests of the bundles that were there before. */
  before: ReadonlyMap<string, string>
}

interface Outcome {
  fault: string
  tries: number
  exits: string
  left: string
}

export const table: Outcome[] = []
/** Every exit code that a fault has led to. */
export const exits = new Set<number>()

export const retention = { CERTAUTOPILOT_BACKUP_KEEP_DAILY: '1', CERTAUTOPILOT_BACKUP_KEEP_LEAST: '1' }

export async function ground(host: TestHost, certificates = 3): Promise<Ground> {
  const api = await host.furnish(certificates)
  const keep = { CERTAUTOPILOT_BACKUP_KEEP_LEAST: '5' }
  for (let n = 0; n < 2; n++) assert.equal((await host.cliWith(keep, 'backup', 'create')).exitCode, 0)
  return { host, api, before: await digests(host) }
}

export async function digests(host: TestHost): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of await host.bundles()) {
    const content = await readFile(join(host.paths.backups, name))
    found.set(name, createHash('sha256').update(content).digest('hex'))
  }
  return found
}

/** What has to hold after every fault, whatever it was. */
export async function assertUnharmed({ host, api, before }: Ground, fault: string): Promise<string> {
  const now = await digests(host)
  for (const [name, digest] of before)
    assert.equal(now.get(name), digest, `${fault}: "${name}" was there before, and retention was not run`)
  const added = [...now.keys()].filter((name) => !before.has(name))
  const { bundles } = (await host.ok('backup', 'list', '--json')).json as unknown as {
    bundles: { name: string; verified_level?: string }[]
  }
  for (const name of added)
    assert.equal(bundles.find((bundle) => bundle.name === name)?.verified_level, 'full', `${fault}: "${name}" counts`)
  for (const name of added) await host.ok('backup', 'verify', name)
  await until(
    () =>
      api.request('POST', '/api/v1/projects', { name: `p${Date.now()}` }).then(
        () => true,
        () => false,
      ),
    `${fault}: the service takes changes again`,
  )
  return added.length === 0 ? 'none' : `${added.length} whole`
}

/** Runs a backup into a fault, looks at what is left, and lets the next one succeed without it. */
export async function tryFault(
  ground: Ground,
  fault: string,
  expected: readonly number[],
  run: () => Promise<Run | number | null>,
  mend: () => Promise<unknown> = async () => {},
): Promise<Run | undefined> {
  const result = await run()
  const exitCode = typeof result === 'object' && result !== null ? result.exitCode : (result ?? -1)
  const said = typeof result === 'object' && result !== null ? result.stderr + result.stdout : ''
  assert.ok(expected.includes(exitCode), `${fault} (seed ${seed}): exit ${exitCode}, expected ${expected.join(' or ')}: ${said}`)
  if (exitCode >= 0) exits.add(exitCode)
  await mend()
  const left = await assertUnharmed(ground, fault)
  const keep = { CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }
  const next = await ground.host.cliWith(keep, 'backup', 'create')
  assert.equal(next.exitCode, 0, `${fault}: the next run: ${next.stderr}`)
  ground.before = await digests(ground.host)
  note(fault, exitCode < 0 ? 'killed' : String(exitCode), left)
  return typeof result === 'object' && result !== null ? result : undefined
}

export function note(fault: string, exit: string, left: string): void {
  const known = table.find((row) => row.fault === fault)
  if (known === undefined) table.push({ fault, tries: 1, exits: exit, left })
  else {
    known.tries++
    if (!known.exits.split(', ').includes(exit)) known.exits += `, ${exit}`
    if (!known.left.split(', ').includes(left)) known.left += `, ${left}`
  }
}

after(() => {
  const lines = table.map(
    ({ fault, tries, exits, left }) => `  ${fault.padEnd(64)} ${String(tries).padStart(5)}  ${exits.padEnd(12)} ${left}`,
  )
  console.log([`fault table, seed ${seed}`, `  ${'fault'.padEnd(64)} tries  exit         new bundles`, ...lines].join('\n'))
})

/** A number from 0 to 1, the same for the same seed. */
export function randomAt(n: number): number {
  const digest = createHash('sha256').update(`${seed} ${n}`).digest()
  return digest.readUInt32LE(0) / 2 ** 32
}
