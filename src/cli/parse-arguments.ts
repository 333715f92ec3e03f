import { parseArgs } from 'node:util'
import { AppError, messageOf } from '../core/app-error.ts'
import { type Arguments, type Command, commonOptions } from './command.ts'

/** The command whose words the arguments start with; the longest match wins. */
export function matchCommand(commands: readonly Command[], words: readonly string[]): Command | undefined {
  const matching = commands.filter((command) => command.name.split(' ').every((word, index) => words[index] === word))
  return matching.sort((a, b) => b.name.length - a.name.length)[0]
}

/** @throws AppError `usage` naming the option */
export function parseArguments(command: Command, words: readonly string[]): Arguments {
  const specs = { ...command.options, ...commonOptions }
  const options = Object.fromEntries(Object.entries(specs).map(([name, { type, multiple = false }]) => [name, { type, multiple }]))
  const { values, positionals } = attempt(
    () => parseArgs({ args: [...words], options, allowPositionals: true, strict: true }),
    command,
  )
  checkOperands(command, positionals)
  return {
    positionals,
    text: (name) => values[name] as string | undefined,
    list: (name) => (values[name] as string[] | undefined) ?? [],
    flag: (name) => values[name] === true,
    number: (name) => numberOf(name, values[name] as string | undefined),
  }
}

function checkOperands(command: Command, positionals: readonly string[]): void {
  const operands = command.operands?.split(' ') ?? []
  const isOpen = command.operands?.endsWith('...') ?? false
  const extra = isOpen ? undefined : positionals[operands.length]
  if (extra !== undefined) throw usage(command, `"${extra}" is one argument too many`)
}

function numberOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,9}$/.test(text)) throw new AppError('usage', `--${name} is "${text}", expected a number`)
  return Number(text)
}

function attempt<T>(run: () => T, command: Command): T {
  try {
    return run()
  } catch (error) {
    throw usage(
      command,
      messageOf(error)
        .split('.')[0]
        ?.replace(/^Unknown/, 'unknown') ?? 'wrong usage',
    )
  }
}

function usage(command: Command, message: string): AppError {
  return new AppError('usage', message, { hint: `"certautopilot ${command.name} --help" shows the usage and examples` })
}
