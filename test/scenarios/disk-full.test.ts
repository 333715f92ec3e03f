import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { note } from '../fault-ground.ts'
import { newHost } from '../test-host.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root, to mount a small file system'

/** A file system of so many kB at `path`. */
function mountSmall(path: string, kilobytes: number): Disposable {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k,mode=0700`, 'small', path])
  return { [Symbol.dispose]: () => void execFileSync('umount', [path]) }
}

test('a disk that is full at any point of a backup fails it, and what was there stays', { skip }, async (t) => {
  await using host = await newHost()
  await host.furnish(3)
  await mkdir(host.paths.backups, { recursive: true })
  const sizes: string[] = []
  for (const free of [0, 4, 16, 40, 60, 68, 72, 80]) {
    using _small = mountSmall(host.paths.backups, 256)
    const good = await host.backup()
    const used = Number(execFileSync('du', ['-sk', host.paths.backups]).toString().split('\t')[0])
    execFileSync('mount', ['-o', `remount,size=${used + free}k`, host.paths.backups])
    const failed = await host.cli('backup', 'create')
    const bundles = await host.bundles()
    sizes.push(`${free} kB: ${failed.exitCode}`)
    note('a disk with a little room, from 0 kB on', String(failed.exitCode), failed.exitCode === 0 ? '1 whole' : 'none')
    assert.ok(bundles.includes(good))
    if (failed.exitCode !== 0) {
      assert.deepEqual(bundles, [good], `${free} kB: ${failed.stderr}`)
      assert.match(failed.stderr, /ENOSPC|no space|full/i, `${free} kB`)
    }
    const left = (await readdir(host.paths.backups)).filter((name) => name.startsWith('.'))
    assert.deepEqual(left, [], `${free} kB: nothing half-written stays`)
    execFileSync('mount', ['-o', 'remount,size=1024k', host.paths.backups])
    await host.ok('backup', 'verify', good)
    await host.ok('backup', 'create')
  }
  assert.ok(sizes.filter((size) => !size.endsWith(': 0')).length >= 5, sizes.join(', '))
  t.diagnostic(sizes.join(', '))
})

test('a target that is full is partial, holds no half copy, and gets its copy when there is room', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-full-'))
  t.after(() => rm(folder, { recursive: true }))
  using _small = mountSmall(folder, 24)
  await using host = await newHost({ CERTAUTOPILOT_BACKUP_TARGETS: `nas=disk://${folder}` })
  await host.furnish(2)
  const partial = await host.cli('backup', 'create')
  assert.equal(partial.exitCode, 3)
  assert.match(partial.stderr, /ENOSPC/)
  note('a target that is full', String(partial.exitCode), '1 whole, no copy')
  assert.deepEqual(await readdir(folder), [])
  execFileSync('mount', ['-o', 'remount,size=1024k', folder])
  await host.ok('backup', 'target', 'sync')
  assert.equal((await readdir(folder)).length, 2)
})
