import { plural } from '../core/units.ts'
import type { Command } from './command.ts'
import { table } from './output.ts'

interface Entry {
  at: string
  actor: { kind: string; name: string }
  event: string
  subject: string
  seq: number
}

export const commands: Command[] = [
  {
    name: 'audit list',
    summary: 'list what was done, newest first',
    options: { limit: { type: 'string', value: 'N', help: 'at most N (50)' } },
    examples: ['audit list', 'audit list --limit 500 --json'],
    async run(context, args) {
      const { items } = await context.api<{ items: Entry[] }>('GET', `/api/v1/audit-logs?limit=${args.number('limit') ?? 50}`)
      const rows = items.map((entry) => [
        entry.at.slice(0, 19),
        entry.event,
        entry.actor.name,
        entry.subject,
        entry.seq === 0 ? 'not linked yet' : `#${entry.seq}`,
      ])
      context.out.summary({ entries: items }, table([['at (UTC)', 'event', 'by', 'subject', 'link'], ...rows]))
    },
  },
  {
    name: 'audit verify',
    summary: 'recompute the chain of the audit log',
    examples: ['audit verify'],
    async run(context) {
      const result = await context.api<{ checked: number; unlinked: number; headHmac: string }>('POST', '/api/v1/audit-logs/verify')
      const tail =
        result.unlinked === 0
          ? 'none wait'
          : `${plural(result.unlinked, 'entry').replace('entrys', 'entries')} of the last second not linked yet`
      context.out.summary(result, [`the audit chain is whole: ${result.checked} entries, ${tail}`])
    },
  },
]
