import { AppError } from '../core/app-error.ts'
import type { Context } from './context.ts'

export interface OptionSpec {
  type: 'string' | 'boolean'
  help: string
  /** How the value is called in the help text. */
  value?: string
  multiple?: boolean
}

export interface Arguments {
  positionals: string[]
  /** @throws AppError `usage` when an option that must be there is missing */
  text(name: string): string | undefined
  list(name: string): string[]
  flag(name: string): boolean
  number(name: string): number | undefined
}

export interface Command {
  /** The words of the command line: `backup create`. */
  name: string
  summary: string
  /** `BUNDLE`, or `[BUNDLE]` where it may be left out, or `NAME...`. */
  operands?: string
  options?: Record<string, OptionSpec>
  examples: string[]
  /** Does it; a failure is thrown. @returns an exit code, where it is somebody else's */
  run(context: Context, args: Arguments): Promise<void> | Promise<number>
}

export const commonOptions: Record<string, OptionSpec> = {
  json: { type: 'boolean', help: 'write JSON lines' },
  help: { type: 'boolean', help: 'show this help' },
}

export const identityOption: Record<string, OptionSpec> = {
  identity: { type: 'string', value: 'FILE', help: "identity file or recovery kit; this host's own if not given" },
  'accept-foreign': { type: 'boolean', help: 'accept a bundle that is unsigned or signed by an unknown key' },
}

export const fromOption: Record<string, OptionSpec> = {
  from: { type: 'string', value: 'TARGET', help: 'read bundles at a target, by its name or URL, instead of the backup folder' },
}

export function helpText(command: Command): string {
  const options = { ...command.options, ...commonOptions }
  const rows = Object.entries(options).map(
    ([name, spec]) => [`--${name}${spec.type === 'string' ? ` ${spec.value ?? 'TEXT'}` : ''}`, spec.help] as const,
  )
  const width = Math.max(...rows.map(([option]) => option.length)) + 2
  const usage = ['certautopilot', command.name, command.operands, '[OPTIONS]'].filter(Boolean).join(' ')
  return [
    command.summary,
    '',
    `usage: ${usage}`,
    '',
    'options:',
    ...rows.map(([option, help]) => `  ${option.padEnd(width)}${help}`),
    '',
    'examples:',
    ...command.examples.map((example) => `  ${example.replace(/^((?:[A-Z_]+=\S+ )*)/, '$1certautopilot ')}`),
    '',
  ].join('\n')
}

/** @throws AppError `usage` */
export function operand(args: Arguments, index: number, name: string): string {
  const value = args.positionals[index]
  if (value === undefined) throw new AppError('usage', `${name} is missing`, { hint: 'add --help for the usage and examples' })
  return value
}

/** `--set KEY=VALUE`. @throws AppError `usage` */
export function settingOf(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw new AppError('usage', `--set "${text}" is not KEY=VALUE`)
  return [text.slice(0, at), text.slice(at + 1)]
}
