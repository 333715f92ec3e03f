import assert from 'node:assert/strict'
import { test } from 'node:test'
import { extract } from 'tar-stream'
import { archiveHeader } from './write-bundle.ts'

for (const size of [0, 511, 8 ** 11 - 1, 8 ** 11, 3e12]) {
  test(`a tar reader sees an archive of ${size} bytes as such`, async () => {
    const tar = extract()
    const header = new Promise<{ name: string; size?: number | null; mode?: number | null }>((resolve) =>
      tar.once('entry', (seen) => resolve(seen)),
    )
    tar.write(archiveHeader(size))
    const { name, size: seenSize, mode } = await header
    assert.deepEqual([name, seenSize, mode], ['mongo.archive.gz', size, 0o600])
    tar.destroy()
  })
}
