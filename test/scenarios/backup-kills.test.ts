import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { ground, retention, tryFault } from '../fault-ground.ts'
import { findProgram, needs } from '../servers.ts'
import { newHost, type TestHost } from '../test-host.ts'

/** Calls between which a step has become durable, or is seen by others. */
const calls = ['rename', 'fsync', 'unlink']
/** A run makes fewer of each; who comes here does not end. */
const most = 60

for (const call of calls)
  test(`killed at every ${call} of a backup and its copy`, needs('STRACE'), async (t) => {
    await using host = await newHost(retention)
    const at = await ground(host)
    const folder = join(host.home, '..', 'nas')
    await mkdir(folder)
    let isOver = false
    let nth = 0
    while (!isOver) {
      nth++
      assert.ok(nth < most, `still not over at the ${nth}th`)
      await tryFault(at, `kill -9 at every ${call}`, [-1, 0], async () => {
        const exitCode = await killedAtCall(host, call, nth, {
          CERTAUTOPILOT_BACKUP_TARGETS: `nas=disk://${folder}`,
          // What retention removes after a success is none of the fault's.
          CAP_BACKUP_RETAIN_DAYS: '30',
        })
        isOver = exitCode === 0
        return exitCode
      })
      const there = (await host.ok('backup', 'list', '--from', `disk://${folder}`, '--json')).json as unknown as {
        bundles: { is_damaged: boolean }[]
      }
      assert.ok(
        there.bundles.every(({ is_damaged }) => !is_damaged),
        `what counts at the target is whole after the ${nth}th`,
      )
    }
    assert.ok(nth > 3, `${call} was called ${nth - 1} times only`)
    t.diagnostic(`${nth - 1} places`)
  })

/** One thread does all such calls, so that they come in one order. @returns null when it was killed, else how it ended */
async function killedAtCall(
  host: TestHost,
  call: string,
  nth: number,
  environment: Record<string, string>,
): Promise<number | null> {
  const inject = `inject=${call}:signal=SIGKILL:when=${nth}`
  const under = [findProgram('STRACE') as string, '-f', '-qqq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject]
  const child = host.spawn(['backup', 'create', '--json'], { ...environment, UV_THREADPOOL_SIZE: '1' }, under)
  child.stdout?.resume()
  child.stderr?.resume()
  const [exitCode] = (await once(child, 'close')) as [number | null]
  return exitCode
}
