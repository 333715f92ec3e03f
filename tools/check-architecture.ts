import { globSync, readFileSync } from 'node:fs'
import { basename, dirname, relative, resolve } from 'node:path'
import { errorCodes } from '../src/core/app-error.ts'
import { imports, packages } from './import-table.ts'

interface Import {
  from: string
  target: string
}

const maxLines = 400
const ioModules = /^node:(fs|fs\/promises|http|https|net|tls|child_process|sqlite|dns)$/
const ioNouns = new Set(['config', 'http', 'cli'])
const forbiddenNames = /(^|[-/])(utils?|helpers?|common|misc|manager|service|types|base)(\.|-|$)|^index\.ts$/
/** Values of the standard library that are I/O by module but not by use. */
const pureUses: Record<string, string> = {
  'src/certificates/issue-certificate.ts': 'node:net',
  'src/certificates/request-certificate.ts': 'node:net',
}

/** The rules of CONTRIBUTING.md that a program can check. @returns what is broken, a line each */
export function checkArchitecture(): string[] {
  const files = globSync('src/**/*.ts').sort()
  return [...files.flatMap(checkFile), ...checkErrorDocs(), ...checkDependencyReasons(), ...checkEntriesOfTables()]
}

function checkFile(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  const lines = text.split('\n').length - 1
  const isTest = /\.(test|contract)\.ts$/.test(file)
  return [
    ...(lines > maxLines ? [`${file}: ${lines} lines, more than ${maxLines}`] : []),
    ...(file.split('/').length > 4 ? [`${file}: deeper than src/noun/technology/file.ts`] : []),
    ...(/^[a-z0-9-]+(\.(test|contract|worker))?\.ts$/.test(basename(file)) && !forbiddenNames.test(basename(file))
      ? []
      : [`${file}: not a name of ours`]),
    ...(/process\.env/.test(text) && file !== 'src/config/environment.ts' && !isTest ? [`${file}: reads process.env`] : []),
    ...(/process\.exit\b\(/.test(text) ? [`${file}: calls process.exit`] : []),
    ...(/^export (\*|\{[^}]*\}) from/m.test(text) ? [`${file}: re-exports`] : []),
    ...(isTest ? [] : importsOf(file, text).flatMap(checkImport)),
  ]
}

function importsOf(file: string, text: string): Import[] {
  const found = text.matchAll(/(?:^import .*?|^\} |import\()(?:from )?'([^']+)'/gm)
  return [...found].map((match) => ({ from: file, target: match[1] as string }))
}

function checkImport({ from, target }: Import): string[] {
  const noun = nounOf(from)
  const isTechnology = from.split('/').length === 4
  if (target.startsWith('node:')) {
    const isAllowed =
      !ioModules.test(target) || noun === undefined || isTechnology || ioNouns.has(noun) || pureUses[from] === target
    return isAllowed ? [] : [`${from}: an idea imports ${target}`]
  }
  if (!target.startsWith('.')) return checkPackage(from, noun, target)
  const path = relative('.', resolve(dirname(from), target))
  const targetNoun = nounOf(path)
  if (noun === undefined) return []
  if (targetNoun === undefined) return [`${from}: imports ${path}, which is above it`]
  const targetTechnology = path.split('/').length === 4
  if (targetTechnology && dirname(path) !== dirname(from)) return [`${from}: imports the technology ${path}`]
  if (targetNoun !== noun && !imports[noun]?.includes(targetNoun)) return [`${from}: ${noun} may not import ${targetNoun}`]
  return []
}

function checkPackage(from: string, noun: string | undefined, target: string): string[] {
  const name = target.startsWith('@') ? target.split('/').slice(0, 2).join('/') : (target.split('/')[0] as string)
  const folders = packages[name]
  if (folders === undefined) return [`${from}: package "${name}" is not in tools/import-table.ts`]
  const folder = noun === undefined ? 'src' : dirname(from).slice('src/'.length)
  return folders.includes('anywhere') || folders.some((allowed) => folder === allowed || folder.startsWith(`${allowed}/`))
    ? []
    : [`${from}: package "${name}" belongs to ${folders.join(', ')}`]
}

function nounOf(path: string): string | undefined {
  const parts = path.split('/')
  return parts[0] === 'src' && parts.length > 2 ? parts[1] : undefined
}

function checkErrorDocs(): string[] {
  const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^\| `([a-z-]+)` \|/gm)].map((match) => match[1] as string)
  return [
    ...errorCodes.filter((code) => !documented.includes(code)).map((code) => `docs/errors.md: "${code}" is missing`),
    ...documented
      .filter((code) => !(errorCodes as readonly string[]).includes(code))
      .map((code) => `docs/errors.md: "${code}" is no error of ours`),
  ]
}

function checkDependencyReasons(): string[] {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, Record<string, string>>
  const text = readFileSync('CONTRIBUTING.md', 'utf8')
  const names = ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((section) =>
    Object.keys(manifest[section] ?? {}),
  )
  return names
    .filter((name) => !text.includes(`| \`${name}\` |`))
    .map((name) => `CONTRIBUTING.md: no reason for the dependency "${name}"`)
}

/** The table orders nouns so that each imports only earlier ones, which makes cycles impossible. */
function checkEntriesOfTables(): string[] {
  const order = Object.keys(imports)
  const nouns = new Set(globSync('src/*/').map((path) => path.split('/')[1] as string))
  const late = order.flatMap((noun, index) =>
    (imports[noun] ?? [])
      .filter((target) => order.indexOf(target) >= index)
      .map((target) => `import table: ${noun} comes before ${target}`),
  )
  return [...late, ...[...nouns].filter((noun) => !order.includes(noun)).map((noun) => `import table: "${noun}" is missing`)]
}
