import { AppError } from '../core/app-error.ts'
import { type Command, commonOptions } from './command.ts'
import { allCommands } from './commands.ts'

export const commands: Command[] = [
  {
    name: 'completion',
    summary: 'write a completion script for bash',
    operands: 'SHELL',
    examples: ['completion bash > /etc/bash_completion.d/certautopilot'],
    async run(context, args) {
      const shell = args.positionals[0] ?? 'bash'
      if (shell !== 'bash') throw new AppError('usage', `there is no completion for "${shell}", only for bash`)
      context.out.raw(bashCompletion(await allCommands()))
    },
  },
]

/** Completes the words of commands, then options; bundles and files are left to bash. */
function bashCompletion(all: readonly Command[]): string {
  const cases = all.map((command) => {
    const options = Object.keys({ ...command.options, ...commonOptions }).map((name) => `--${name}`)
    return `    "${command.name} "*|"${command.name}") words="${options.join(' ')}" ;;`
  })
  const heads = [...new Set(all.map((command) => command.name.split(' ')[0]))].join(' ')
  const seconds = [...new Set(all.map((command) => command.name.split(' ')[0] as string))].map((head) => {
    const next = all.map((command) => command.name.split(' ')).filter(([first, second]) => first === head && second !== undefined)
    return `    "${head}"|"${head} ") words="${[...new Set(next.map(([, second]) => second))].join(' ')}" ;;`
  })
  return `_certautopilot() {
  local line="\${COMP_WORDS[*]:1:COMP_CWORD-1}" current="\${COMP_WORDS[COMP_CWORD]}" words=""
  case "$line" in
    "") words="${heads}" ;;
${cases.join('\n')}
${seconds.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ \${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}
complete -F _certautopilot certautopilot
`
}
