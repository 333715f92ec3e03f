import { type Command, operand } from './command.ts'
import { table } from './output.ts'

interface Named {
  _id: string
  name: string
  created_at: string
}

export const commands: Command[] = [
  {
    name: 'ca list',
    summary: 'list internal CAs',
    examples: ['ca list'],
    async run(context) {
      const { items } = await context.api<{ items: Named[] }>('GET', '/api/v1/cas?limit=500')
      context.out.summary(
        { cas: items },
        items.length === 0 ? ['there is no CA yet: run "certautopilot ca create NAME"'] : namedTable(items),
      )
    },
  },
  {
    name: 'ca create',
    summary: 'make an internal CA: a root and an intermediate (P-256)',
    operands: 'NAME',
    examples: ['ca create "Example internal"'],
    async run(context, args) {
      const ca = await context.api<Named>('POST', '/api/v1/cas', { name: operand(args, 0, 'NAME') })
      context.out.summary(ca, [`made CA "${ca.name}" (${ca._id}); trust its root: certautopilot ca show "${ca.name}"`])
    },
  },
  {
    name: 'ca show',
    summary: 'write the root and the intermediate of a CA as PEM',
    operands: 'CA',
    examples: ['ca show "Example internal" > root.pem'],
    async run(context, args) {
      const ca = await context.api<Named & { root_pem: string; intermediate_pem: string }>(
        'GET',
        `/api/v1/cas/${encodeURIComponent(operand(args, 0, 'CA'))}`,
      )
      context.out.summary(ca, [`${ca.root_pem}\n${ca.intermediate_pem}`])
    },
  },
  {
    name: 'project list',
    summary: 'list projects',
    examples: ['project list'],
    async run(context) {
      const { items } = await context.api<{ items: Named[] }>('GET', '/api/v1/projects?limit=500')
      context.out.summary(
        { projects: items },
        items.length === 0 ? ['there is no project yet: run "certautopilot project create NAME"'] : namedTable(items),
      )
    },
  },
  {
    name: 'project create',
    summary: 'make a project: an isolated set of certificates',
    operands: 'NAME',
    examples: ['project create shop'],
    async run(context, args) {
      const project = await context.api<Named>('POST', '/api/v1/projects', { name: operand(args, 0, 'NAME') })
      context.out.summary(project, [`made project "${project.name}"`])
    },
  },
  {
    name: 'project remove',
    summary: 'remove a project that holds no certificates',
    operands: 'PROJECT',
    examples: ['project remove shop'],
    async run(context, args) {
      const name = operand(args, 0, 'PROJECT')
      await context.api('DELETE', `/api/v1/projects/${encodeURIComponent(name)}`)
      context.out.summary({ removed: name }, [`removed project "${name}"`])
    },
  },
]

function namedTable(items: Named[]): string[] {
  return table([['name', 'id', 'made'], ...items.map((item) => [item.name, item._id, item.created_at.slice(0, 10)])])
}
