import { spawnSync } from 'node:child_process'
import { checkArchitecture } from './check-architecture.ts'

/** Type check, formatter and linter, and the rules of our own. */
const commands = [
  ['tsc', '-p', '.'],
  ['tsc', '-p', 'web', '--noEmit'],
  ['biome', 'ci', '.'],
] as const

const failed = commands.filter(([command, ...words]) => spawnSync(command, words, { stdio: 'inherit' }).status !== 0)
const problems = checkArchitecture()
for (const problem of problems) console.error(problem)
console.log(`${commands.length - failed.length} of ${commands.length} tools passed, ${problems.length} broken rules`)
process.exitCode = failed.length + problems.length === 0 ? 0 : 1
