import type { Command } from './command.ts'

/** Every command by name, and the file that holds it: loaded when it is called. */
const files: Record<string, () => Promise<Record<string, unknown>>> = {
  quickstart: () => import('./setup.ts'),
  setup: () => import('./setup.ts'),
  serve: () => import('./serve.ts'),
  status: () => import('./serve.ts'),
  backup: () => import('./backup.ts'),
  restore: () => import('./restore.ts'),
  drill: () => import('./drill.ts'),
  kek: () => import('./kek.ts'),
  cert: () => import('./certificates.ts'),
  ca: () => import('./authorities.ts'),
  acme: () => import('./acme.ts'),
  dns: () => import('./dns.ts'),
  deploy: () => import('./deploy.ts'),
  notify: () => import('./notify.ts'),
  project: () => import('./authorities.ts'),
  job: () => import('./jobs.ts'),
  user: () => import('./users.ts'),
  'api-key': () => import('./users.ts'),
  audit: () => import('./audit.ts'),
  config: () => import('./config.ts'),
  completion: () => import('./completion.ts'),
}

export const commandGroups: readonly string[] = Object.keys(files)

/** The commands whose name starts with `group`. */
export async function commandsOf(group: string): Promise<Command[]> {
  const module = await files[group]?.()
  const all = (module?.commands ?? []) as Command[]
  return all.filter((command) => command.name.split(' ')[0] === group)
}

export async function allCommands(): Promise<Command[]> {
  return (await Promise.all(commandGroups.map(commandsOf))).flat()
}
