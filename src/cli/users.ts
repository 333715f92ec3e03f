import { type Command, operand } from './command.ts'
import { table } from './output.ts'

interface ShownUser {
  _id: string
  email: string
  role: string
  created_at: string
}
interface ShownKey {
  _id: string
  name: string
  role: string
  prefix: string
  created_at: string
  revoked_at: string | null
}

export const commands: Command[] = [
  {
    name: 'user setup',
    summary: 'make the first owner, with the one-time token of this host',
    operands: 'EMAIL',
    examples: ['user setup ops@example.org', 'CERTAUTOPILOT_PASSWORD=... user setup ops@example.org'],
    async run(context, args) {
      const email = operand(args, 0, 'EMAIL')
      const token = await context.setupToken()
      const password = await context.askSecret('password of the owner: ', 'CERTAUTOPILOT_PASSWORD')
      const user = await context.api<ShownUser>('POST', '/api/v1/setup', { token, email, password })
      context.out.summary(user, [`"${user.email}" is the owner`])
    },
  },
  {
    name: 'user list',
    summary: 'list users',
    examples: ['user list'],
    async run(context) {
      const { items } = await context.api<{ items: ShownUser[] }>('GET', '/api/v1/users?limit=500')
      context.out.summary(
        { users: items },
        table([
          ['e-mail', 'role', 'made', 'id'],
          ...items.map((user) => [user.email, user.role, user.created_at.slice(0, 10), user._id]),
        ]),
      )
    },
  },
  {
    name: 'user create',
    summary: 'add a user',
    operands: 'EMAIL',
    options: { role: { type: 'string', value: 'ROLE', help: 'owner, admin, operator or viewer (default)' } },
    examples: ['user create ada@example.org --role operator'],
    async run(context, args) {
      const email = operand(args, 0, 'EMAIL')
      const password = await context.askSecret(`password of "${email}": `, 'CERTAUTOPILOT_PASSWORD')
      const user = await context.api<ShownUser>('POST', '/api/v1/users', { email, role: args.text('role') ?? 'viewer', password })
      context.out.summary(user, [`added "${user.email}" as ${user.role}`])
    },
  },
  {
    name: 'user password',
    summary: 'set the password of a user and end their sessions',
    operands: 'EMAIL',
    examples: ['user password ada@example.org'],
    async run(context, args) {
      const email = operand(args, 0, 'EMAIL')
      const password = await context.askSecret(`new password of "${email}": `, 'CERTAUTOPILOT_PASSWORD')
      await context.api('PUT', `/api/v1/users/${encodeURIComponent(email)}/password`, { password })
      context.out.summary({ email }, [`the password of "${email}" is changed`])
    },
  },
  {
    name: 'user remove',
    summary: 'remove a user and end their sessions',
    operands: 'EMAIL',
    examples: ['user remove ada@example.org'],
    async run(context, args) {
      const email = operand(args, 0, 'EMAIL')
      await context.api('DELETE', `/api/v1/users/${encodeURIComponent(email)}`)
      context.out.summary({ removed: email }, [`removed "${email}"`])
    },
  },
  {
    name: 'api-key list',
    summary: 'list API keys',
    examples: ['api-key list'],
    async run(context) {
      const { items } = await context.api<{ items: ShownKey[] }>('GET', '/api/v1/api-keys?limit=500')
      const rows = items.map((key) => [
        key.name,
        key.role,
        `${key.prefix}...`,
        key.revoked_at === null ? 'valid' : 'revoked',
        key._id,
      ])
      context.out.summary(
        { api_keys: items },
        items.length === 0 ? ['there is no API key'] : table([['name', 'role', 'key', 'state', 'id'], ...rows]),
      )
    },
  },
  {
    name: 'api-key create',
    summary: 'make an API key; it is shown once',
    operands: 'NAME',
    options: {
      role: { type: 'string', value: 'ROLE', help: 'admin, operator or viewer (default)' },
      project: { type: 'string', value: 'NAME', help: 'it sees this project and nothing else' },
    },
    examples: ['api-key create ci --role operator', 'api-key create shop --role operator --project shop'],
    async run(context, args) {
      const key = await context.api<ShownKey & { key: string }>('POST', '/api/v1/api-keys', {
        name: operand(args, 0, 'NAME'),
        role: args.text('role') ?? 'viewer',
        project: args.text('project'),
      })
      context.out.summary(key, [`${key.key}`, `API key "${key.name}" (${key.role}); it is not shown again`])
    },
  },
  {
    name: 'api-key revoke',
    summary: 'revoke an API key',
    operands: 'KEY',
    examples: ['api-key revoke 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const key = await context.api<ShownKey>('DELETE', `/api/v1/api-keys/${encodeURIComponent(operand(args, 0, 'KEY'))}`)
      context.out.summary(key, [`revoked API key "${key.name}"`])
    },
  },
]
