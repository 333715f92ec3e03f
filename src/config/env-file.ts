import { AppError } from '../core/app-error.ts'

/**
 * Parses a file of `NAME=value` lines as systemd's EnvironmentFile reads it: `#` and `;` start comments, a value may stand in quotes.
 * @throws AppError `config` naming file and line, never the value
 */
export function parseEnvFile(content: string, path: string): Map<string, string> {
  const values = new Map<string, string>()
  for (const [index, line] of content.split('\n').entries()) {
    const text = line.trim()
    if (text === '' || text.startsWith('#') || text.startsWith(';')) continue
    const match = text.match(/^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/)
    if (match === null) throw new AppError('config', `${path}: line ${index + 1} is not of the form NAME=value`)
    const [, name = '', value = ''] = match
    if (values.has(name)) throw new AppError('config', `${path}: "${name}" stands twice`)
    values.set(name, unquoted(value))
  }
  return values
}

export function formatEnvFile(values: ReadonlyMap<string, string>, heading: string): string {
  const lines = [...values].map(([name, value]) => `${name}=${/[\s#"']/.test(value) ? JSON.stringify(value) : value}`)
  return `# ${heading}\n${lines.join('\n')}\n`
}

function unquoted(value: string): string {
  const match = value.match(/^(["'])(.*)\1$/)
  return match === null ? value : (match[2] as string).replaceAll(/\\(["\\])/g, '$1')
}
