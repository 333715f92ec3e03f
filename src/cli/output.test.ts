import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { Output } from './output.ts'

function outputAt(clock: { ms: number }, isJson: boolean): { out: Output; shown(): string } {
  let text = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk
      done()
    },
  })
  const out = new Output({ stdout: stream, stderr: stream, isTerminal: true, isJson, now: () => clock.ms })
  return { out, shown: () => text }
}

function backUp(out: Output, clock: { ms: number }): void {
  out.progress({ phase: 'waiting until nobody writes' })
  clock.ms += 60_000
  out.progress({ phase: 'reading', bytesDone: 0, bytesTotal: 1_000_000_000 })
  clock.ms += 2_000
  out.progress({ phase: 'reading', bytesDone: 100_000_000, bytesTotal: 1_000_000_000 })
  for (const done of [1, 2]) {
    for (const phase of ['copying to a', 'copying to b']) out.progress({ phase, bytesDone: done * 10_000_000 })
    clock.ms += 1_000
  }
}

test('a terminal shows share, rate and time left of the present phase, not of what came before it', () => {
  const clock = { ms: 0 }
  const { out, shown } = outputAt(clock, false)
  backUp(out, clock)
  const lines = shown().split('\r\x1b[2K')
  assert.ok(lines.includes('waiting until nobody writes'))
  assert.ok(lines.includes('reading  10 %  50.0 MB/s  18.0 s left'), lines.join('|'))
  assert.ok(lines.includes('copying to a  20.0 MB  10.0 MB/s'), lines.join('|'))
  out.summary({}, ['done'])
  assert.ok(shown().endsWith('\r\x1b[2Kdone\n'), 'the line makes room for the result')
})

test('a second bundle that goes the same way begins anew', () => {
  const clock = { ms: 0 }
  const { out, shown } = outputAt(clock, true)
  for (const total of [100_000_000, 10_000_000])
    for (const share of [0, 0.5, 1]) {
      out.progress({ phase: 'copying to a', bytesDone: total * share, bytesTotal: total })
      clock.ms += 1_000
    }
  const paces = shown()
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { bytes_per_second?: number }).bytes_per_second)
  assert.deepEqual(paces, [undefined, 50_000_000, 50_000_000, undefined, 5_000_000, 5_000_000])
})

test('a program is told the same', () => {
  const clock = { ms: 0 }
  const { out, shown } = outputAt(clock, true)
  backUp(out, clock)
  const reading = shown()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ phase }) => phase === 'reading')
    .at(-1)
  assert.deepEqual(
    [reading?.percent_done, reading?.bytes_per_second, reading?.seconds_remaining, reading?.seconds_elapsed],
    [0.1, 50_000_000, 18, 62],
  )
})
