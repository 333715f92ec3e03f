import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { pauseFor } from '../backup/point-in-time.ts'
import { AppError, messageOf } from '../core/app-error.ts'
import { formatDuration } from '../core/units.ts'
import type { Command } from './command.ts'

export const commands: Command[] = [
  {
    name: 'backup quiesce',
    summary: 'run a command while no process of the service writes; its exit code is passed on',
    operands: '-- COMMAND...',
    examples: [
      'backup quiesce -- restic backup /var/lib/certautopilot',
      'backup quiesce -- sh -c "lvcreate --snapshot --name cap-nightly --size 5G vg0/cap"',
    ],
    async run(context, args) {
      const [program, ...words] = args.positionals
      if (program === undefined) throw new AppError('usage', 'COMMAND is missing', { hint: 'write it behind "--"' })
      const host = await context.host()
      return context.withStore(host, async (store) => {
        await using pause = await pauseFor(host.backup, store, 'backup quiesce', context.signal)
        context.out.notice(`nobody writes since ${pause.since.toISOString()}`)
        const exitCode = await runToEnd(program, words, context.signal)
        pause.requireHeld()
        context.out.notice(`writers go on after ${formatDuration(Date.now() - pause.since.getTime())}`)
        return exitCode
      })
    },
  },
]

/** As a shell says it: 128 and the number of the signal for a command that a signal has ended. */
async function runToEnd(program: string, words: readonly string[], signal: AbortSignal): Promise<number> {
  const child = spawn(program, words, { stdio: 'inherit' })
  const stop = () => child.kill('SIGTERM')
  signal.addEventListener('abort', stop, { once: true })
  try {
    const [exitCode, endedBy] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return exitCode ?? 128 + constants.signals[endedBy ?? 'SIGTERM']
  } catch (error) {
    throw cannotRun(program, child, error)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function cannotRun(program: string, child: ChildProcess, error: unknown): AppError {
  return new AppError(child.pid === undefined ? 'usage' : 'failed', `cannot run "${program}": ${messageOf(error)}`, {
    hint: 'name a program that is on PATH, or its whole path',
    cause: error,
  })
}
