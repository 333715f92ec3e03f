import { type Command, operand, settingOf } from './command.ts'
import { table } from './output.ts'

interface Channel {
  _id: string
  name: string
  kind: string
  min_severity: string
  last_sent_at: string | null
  last_error: string
}

export const commands: Command[] = [
  {
    name: 'notify list',
    summary: 'list ways to tell people',
    examples: ['notify list'],
    async run(context) {
      const { items } = await context.api<{ items: Channel[] }>('GET', '/api/v1/notification-channels?limit=500')
      const rows = items.map((item) => [item.name, item.kind, item.min_severity, lastText(item), item._id])
      context.out.summary(
        { channels: items },
        items.length === 0
          ? ['nobody is told of anything yet: "certautopilot notify create --help" shows how to change that']
          : table([['name', 'kind', 'from', 'last message', 'id'], ...rows]),
      )
    },
  },
  {
    name: 'notify create',
    summary: 'add a way to tell people; a password or signing secret comes from CERTAUTOPILOT_NOTIFY_SECRET',
    operands: 'NAME',
    options: {
      kind: { type: 'string', value: 'KIND', help: 'smtp or webhook' },
      set: {
        type: 'string',
        value: 'KEY=VALUE',
        multiple: true,
        help: 'smtp: server, port, from, to, user, tls (implicit, starttls, none); webhook: url',
      },
      'min-severity': { type: 'string', value: 'SEVERITY', help: 'info, warning (default) or critical' },
      project: { type: 'string', value: 'NAME', help: 'only events of this project' },
    },
    examples: [
      'notify create ops --kind webhook --set url=https://hooks.example.org/services/T0/B0/x',
      'notify create mail --kind smtp --set server=mail.example.org --set from=cap@example.org --set to=ops@example.org --set tls=none',
    ],
    async run(context, args) {
      const channel = await context.api<Channel>('POST', '/api/v1/notification-channels', {
        name: operand(args, 0, 'NAME'),
        kind: args.text('kind') ?? 'webhook',
        settings: Object.fromEntries(args.list('set').map(settingOf)),
        secret: context.environment.CERTAUTOPILOT_NOTIFY_SECRET,
        min_severity: args.text('min-severity'),
        project: args.text('project'),
      })
      context.out.summary(channel, [`added "${channel.name}" (${channel._id})`, `next: certautopilot notify test "${channel._id}"`])
    },
  },
  {
    name: 'notify test',
    summary: 'send a test message over a channel, now',
    operands: 'CHANNEL',
    examples: ['notify test 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = operand(args, 0, 'CHANNEL')
      await context.api('POST', `${path(id)}/test`)
      context.out.summary({ id }, ['the other side has taken the message'])
    },
  },
  {
    name: 'notify remove',
    summary: 'remove a channel',
    operands: 'CHANNEL',
    examples: ['notify remove 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = operand(args, 0, 'CHANNEL')
      await context.api('DELETE', path(id))
      context.out.summary({ id }, [`removed channel "${id}"`])
    },
  },
]

function path(id: string): string {
  return `/api/v1/notification-channels/${encodeURIComponent(id)}`
}

function lastText({ last_sent_at, last_error }: Channel): string {
  if (last_error !== '') return last_error
  return last_sent_at === null ? 'none yet' : last_sent_at.slice(0, 16)
}
