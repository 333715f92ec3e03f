import { readFile } from 'node:fs/promises'
import { enableCompileCache } from 'node:module'
import { createInterface } from 'node:readline/promises'
import { fileURLToPath } from 'node:url'
import { type Command, helpText } from './cli/command.ts'
import { commandGroups, commandsOf } from './cli/commands.ts'
import type { Context, SecretVariable } from './cli/context.ts'
import { Output } from './cli/output.ts'
import { matchCommand, parseArguments } from './cli/parse-arguments.ts'
import { processEnvironment } from './config/environment.ts'
import { AppError, type ErrorCode, isAppError, messageOf, systemCodeOf } from './core/app-error.ts'
import type { Store } from './store/store.ts'

// Beside the program and not in a folder where others may write: what is in it runs. The launcher turns it on for this file too.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/compile', import.meta.url)))
// Whatever a library of ours creates, a database or a socket, is for this user alone.
process.umask(0o077)

/** What a failure says to a script; `docs/errors.md` explains each. */
export const exitCodes = {
  failed: 1,
  usage: 2,
  config: 2,
  'not-found': 10,
  exists: 1,
  conflict: 1,
  locked: 11,
  unauthenticated: 1,
  forbidden: 1,
  throttled: 1,
  paused: 1,
  'safe-mode': 1,
  'wrong-identity': 12,
  'verification-failed': 20,
  'nothing-verified': 21,
  'keys-do-not-fit': 22,
  corrupt: 23,
  'archive-foreign': 23,
  'archive-version': 23,
  'archive-truncated': 23,
  'archive-checksum': 23,
  'archive-oversized': 23,
  'too-new': 23,
  'not-ours': 24,
  preflight: 24,
  'post-check-failed': 27,
  unreachable: 28,
  'refused-by-ca': 1,
  'refused-by-dns': 1,
  'refused-by-channel': 1,
  'deploy-failed': 1,
  partial: 3,
  interrupted: 130,
} as const satisfies Record<ErrorCode, number>

const environment = processEnvironment()
const interruption = new AbortController()
const interrupted = new AppError('interrupted', 'interrupted', { hint: 'nothing was left half-written' })

process.exitCode = await main(process.argv.slice(2))

async function main(words: string[]): Promise<number> {
  const isJson = ownWords(words).includes('--json')
  const out = new Output({ stdout: process.stdout, stderr: process.stderr, isTerminal: process.stderr.isTTY === true, isJson })
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interruption.abort(interrupted))
  try {
    return await run(words, out)
  } catch (error) {
    const known = interruption.signal.aborted ? interrupted : readable(error)
    const exitCode = isAppError(known) ? exitCodes[known.code] : 1
    out.error(known, exitCode)
    return exitCode
  }
}

/** What the operating system refused is no bug of ours: it needs its message, not a stack. */
function readable(error: unknown): unknown {
  if (isAppError(error) || !/^E[A-Z]+$/.test(systemCodeOf(error) ?? '')) return error
  return new AppError('failed', messageOf(error), { hint: 'check the path, its owner and the free space', cause: error })
}

/** What stands behind `--` belongs to another program. */
function ownWords(words: string[]): string[] {
  const end = words.indexOf('--')
  return end < 0 ? words : words.slice(0, end)
}

async function run(words: string[], out: Output): Promise<number> {
  const group = words[0]
  if (group === undefined || group === '--help' || group === 'help') return show(out, await overview())
  if (group === '--version') return show(out, `certautopilot ${(await import('./host.ts')).appVersion}\n`)
  const commands = await commandsOf(group)
  if (commands.length === 0)
    throw new AppError('usage', `there is no command "${group}"`, { hint: `the commands are: ${commandGroups.join(', ')}` })
  const command = matchCommand(commands, words)
  if (command === undefined) return show(out, groupText(commands, words))
  const rest = words.slice(command.name.split(' ').length)
  if (ownWords(rest).includes('--help')) return show(out, helpText(command))
  const exitCode = await command.run(contextOf(out), parseArguments(command, rest))
  return typeof exitCode === 'number' ? exitCode : 0
}

function show(out: Output, text: string): number {
  out.raw(text)
  return 0
}

/** @throws AppError `usage` */
function groupText(commands: readonly Command[], words: readonly string[]): string {
  const lines = commands.map((command) => `  ${command.name.padEnd(20)}${command.summary}`)
  const unknown = words[1]
  if (unknown !== undefined && unknown !== '--help')
    throw new AppError('usage', `there is no command "${words[0]} ${unknown}"`, { hint: `there are:\n${lines.join('\n')}` })
  return `${lines.join('\n')}\n`
}

async function overview(): Promise<string> {
  const { allCommands } = await import('./cli/commands.ts')
  const lines = (await allCommands()).map(
    (command) => `  ${[command.name, command.operands].filter(Boolean).join(' ').padEnd(34)} ${command.summary}`,
  )
  return `CertAutopilot: the certificate platform you can restore\n\nusage: certautopilot COMMAND [OPTIONS]\n\n${lines.join('\n')}\n\n"certautopilot COMMAND --help" shows options and examples. Exit codes: docs/errors.md.\n`
}

function contextOf(out: Output): Context {
  const openHost = async (options: { identityFile?: string | undefined; from?: string | undefined } = {}) =>
    (await import('./host.ts')).openHost(environment, {
      ...options,
      progress: (progress) => out.progress(progress),
      askPassphrase: () => askSecret('passphrase of the recovery kit: ', 'CERTAUTOPILOT_PASSPHRASE'),
    })
  return {
    out,
    signal: interruption.signal,
    environment,
    isInteractive: process.stdin.isTTY === true,
    host: openHost,
    async withStore(host, use) {
      const { refuseUnfinishedRestore } = await import('./backup/resume-restore.ts')
      await refuseUnfinishedRestore(host.backup)
      const store = await host.backup.openStore()
      try {
        await store.prepare(host.backup.collections)
        return await use(await heedingPause(store))
      } finally {
        await store.close()
      }
    },
    async api(method, path, body) {
      const content = await (await adminClient()).requestBytes(method, path, body)
      return (content.length === 0 ? undefined : JSON.parse(content.toString())) as never
    },
    async download(method, path, body) {
      return (await adminClient()).requestBytes(method, path, body)
    },
    async serve(options) {
      const { serve } = await import('./serve.ts')
      const { newLog } = await import('./log.ts')
      const host = await openHost()
      await serve(
        host,
        {
          ...options,
          log: newLog(host.config['logging.level']),
          onReady: ({ url }) => (url === '' ? undefined : announce(out, url, host.paths.setupToken)),
        },
        interruption.signal,
      )
    },
    async setUpHome(settings) {
      const { setUpHome } = await import('./setup-home.ts')
      const { pathsOf } = await import('./config/paths.ts')
      return setUpHome(pathsOf(environment), settings)
    },
    async setupToken() {
      const { paths } = await openHost()
      return (
        await readFile(paths.setupToken, 'utf8').catch(() => {
          throw new AppError('not-found', `there is no setup token in "${paths.setupToken}"`, {
            hint: 'the service makes it when it starts and nobody owns it yet',
          })
        })
      ).trim()
    },
    async quickstart(options) {
      const { quickstart } = await import('./quickstart.ts')
      await quickstart({ ...options, environment, out, signal: interruption.signal })
    },
    askSecret,
  }
}

/** A command is no process of the fleet: it looks whether the writers are paused before each change. */
async function heedingPause(store: Store): Promise<Store> {
  const { gatedStore } = await import('./quiesce/gated-store.ts')
  const { PauseWatch } = await import('./quiesce/write-pause.ts')
  const { systemClock, sleep } = await import('./core/clock.ts')
  return gatedStore(store, {
    async run(work) {
      const watch = new PauseWatch()
      while ((await watch.look(store, systemClock)) !== '') {
        await sleep(250, interruption.signal)
        interruption.signal.throwIfAborted()
      }
      return work()
    },
  })
}

async function adminClient() {
  const { SocketClient } = await import('./backup/host/socket-client.ts')
  const { pathsOf } = await import('./config/paths.ts')
  return new SocketClient(pathsOf(environment).adminSocket)
}

async function announce(out: Output, url: string, tokenPath: string): Promise<void> {
  if (process.stdout.isTTY !== true) return
  const token = await readFile(tokenPath, 'utf8').catch(() => '')
  out.note(`listening on ${url}`)
  if (token !== '') out.note(`nobody owns this installation yet; setup token: ${token.trim()}`)
}

async function askSecret(question: string, variable: SecretVariable): Promise<string> {
  const given = environment[variable]
  if (given !== undefined) return given
  if (process.stdin.isTTY !== true) {
    throw new AppError('usage', 'a secret is needed and there is no terminal to ask on', { hint: `put it into ${variable}` })
  }
  process.stderr.write(question)
  const silent = new (await import('node:stream')).Writable({ write: (_chunk, _encoding, done) => done() })
  const reader = createInterface({ input: process.stdin, output: silent, terminal: true })
  try {
    return await reader.question('', { signal: interruption.signal })
  } finally {
    reader.close()
    process.stderr.write('\n')
  }
}
