import { AppError } from '../core/app-error.ts'
import type { Command } from './command.ts'

interface Status {
  version: string
  engine: string
  database: string
  is_set_up: boolean
  recovery_proven_at: string | null
  is_recovery_proven: boolean
  epoch: { epoch: number; safe_mode: boolean; safe_mode_reason: string } | null
  kek: { provider: string; active_version: number }
}

const modes = ['all', 'api', 'worker', 'scheduler'] as const

export const commands: Command[] = [
  {
    name: 'serve',
    summary: 'run the service: API, worker and scheduler',
    options: {
      mode: {
        type: 'string',
        value: 'MODE',
        help: 'all (default), api, worker or scheduler: several processes on one MongoDB share the work',
      },
      profile: { type: 'string', value: 'normal|drill', help: 'drill: isolated, for restore drills' },
      socket: { type: 'string', value: 'PATH', help: 'listen on a Unix socket instead of a port' },
    },
    examples: ['serve', 'serve --mode worker', 'serve --socket /run/certautopilot/api.sock'],
    async run(context, args) {
      const profile = args.text('profile') ?? 'normal'
      if (profile !== 'normal' && profile !== 'drill')
        throw new AppError('usage', `--profile is "${profile}", expected normal or drill`)
      const mode = modes.find((candidate) => candidate === (args.text('mode') ?? 'all'))
      if (mode === undefined) throw new AppError('usage', `--mode is "${args.text('mode')}", expected ${modes.join(', ')}`)
      await context.serve({ profile, mode, socket: args.text('socket') })
    },
  },
  {
    name: 'status',
    summary: 'show the running service: version, database, safe mode, keys',
    examples: ['status', 'status --json'],
    async run(context) {
      const status = await context.api<Status>('GET', '/api/v1/status')
      context.out.summary(status, [
        `version    ${status.version}`,
        `database   ${status.engine} "${status.database}"`,
        `set up     ${status.is_set_up ? 'yes' : 'no: make the first owner with "certautopilot user setup"'}`,
        `safe mode  ${status.epoch?.safe_mode ? `on: ${status.epoch.safe_mode_reason}` : 'off'}`,
        `keys       ${status.kek.provider}, writing with v${status.kek.active_version}`,
        `recovery   ${recoveryWord(status)}`,
      ])
    },
  },
]

function recoveryWord({ recovery_proven_at, is_recovery_proven }: Status): string {
  const remedy = 'run "certautopilot backup key test --identity KIT"'
  if (recovery_proven_at === null) return `unproven: no recovery kit that is in force has opened a bundle yet; ${remedy}`
  return is_recovery_proven
    ? `proven ${recovery_proven_at.slice(0, 10)}: a recovery kit opened a bundle`
    : `unproven for over a year (${recovery_proven_at.slice(0, 10)}): ${remedy}`
}
