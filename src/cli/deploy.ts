import { type Command, operand, settingOf } from './command.ts'
import { followJob } from './jobs.ts'
import { table } from './output.ts'

interface Target {
  _id: string
  name: string
  kind: string
  settings: Record<string, string>
}

interface Deployment {
  _id: string
  target_id: string
  fingerprint: string
  deployed_at: string | null
  error: string
  job_id: string
}

export const commands: Command[] = [
  {
    name: 'deploy list',
    summary: 'list places where certificates are put in use, or where one certificate is',
    operands: '[CERTIFICATE]',
    examples: ['deploy list', 'deploy list 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const certificate = args.positionals[0]
      const { items: targets } = await context.api<{ items: Target[] }>('GET', '/api/v1/deploy-targets?limit=500')
      if (certificate === undefined) {
        const rows = targets.map((item) => [
          item.name,
          item.kind,
          item.settings.certificate_path ?? item.settings.url ?? '',
          item._id,
        ])
        const none = ['there is no place yet: "certautopilot deploy create --help" shows how to add one']
        return context.out.summary({ targets }, targets.length === 0 ? none : table([['name', 'kind', 'where', 'id'], ...rows]))
      }
      const { items } = await context.api<{ items: Deployment[] }>('GET', `${certificatePath(certificate)}/deployments`)
      const nameOf = (id: string) => targets.find((target) => target._id === id)?.name ?? id
      const rows = items.map((item) => [nameOf(item.target_id), stateOf(item), item._id])
      context.out.summary(
        { deployments: items },
        items.length === 0 ? ['it is not deployed anywhere'] : table([['place', 'state', 'id'], ...rows]),
      )
    },
  },
  {
    name: 'deploy create',
    summary: 'add a place: files on this host, or a webhook; a signing secret comes from CERTAUTOPILOT_DEPLOY_SECRET',
    operands: 'NAME',
    options: {
      kind: { type: 'string', value: 'KIND', help: 'file (default) or webhook' },
      set: {
        type: 'string',
        value: 'KEY=VALUE',
        multiple: true,
        help: 'file: certificate_path, key_path, chain_path, mode, owner (UID:GID), reload, check (HOST:PORT); webhook: url, include_key',
      },
    },
    examples: [
      "deploy create nginx --set certificate_path=/etc/nginx/tls/web.pem --set key_path=/etc/nginx/tls/web.key --set 'reload=systemctl reload nginx' --set check=127.0.0.1:443",
      'deploy create ci --kind webhook --set url=https://ci.example.org/hooks/tls',
    ],
    async run(context, args) {
      const target = await context.api<Target>('POST', '/api/v1/deploy-targets', {
        name: operand(args, 0, 'NAME'),
        kind: args.text('kind') ?? 'file',
        settings: Object.fromEntries(args.list('set').map(settingOf)),
        secret: context.environment.CERTAUTOPILOT_DEPLOY_SECRET,
      })
      context.out.summary(target, [
        `added "${target.name}" (${target._id})`,
        `next: certautopilot deploy attach CERTIFICATE "${target.name}"`,
      ])
    },
  },
  {
    name: 'deploy attach',
    summary: 'put a certificate in use at a place, now and after each renewal; follows the job',
    operands: 'CERTIFICATE PLACE',
    examples: ['deploy attach 01k9x5n0k8v7r9t2 nginx'],
    async run(context, args) {
      const body = { target: operand(args, 1, 'PLACE') }
      const deployment = await context.api<Deployment>(
        'POST',
        `${certificatePath(operand(args, 0, 'CERTIFICATE'))}/deployments`,
        body,
      )
      await followJob(context, deployment.job_id)
    },
  },
  {
    name: 'deploy run',
    summary: 'put a certificate in use again; follows the job',
    operands: 'DEPLOYMENT',
    examples: ['deploy run 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = encodeURIComponent(operand(args, 0, 'DEPLOYMENT'))
      const job = await context.api<{ _id: string }>('POST', `/api/v1/deployments/${id}/deploy`)
      await followJob(context, job._id)
    },
  },
  {
    name: 'deploy detach',
    summary: 'do not put renewals there any more; what is there stays',
    operands: 'DEPLOYMENT',
    examples: ['deploy detach 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = operand(args, 0, 'DEPLOYMENT')
      await context.api('DELETE', `/api/v1/deployments/${encodeURIComponent(id)}`)
      context.out.summary({ id }, [`detached "${id}"`])
    },
  },
  {
    name: 'deploy remove',
    summary: 'forget a place',
    operands: 'PLACE',
    examples: ['deploy remove nginx'],
    async run(context, args) {
      const id = operand(args, 0, 'PLACE')
      await context.api('DELETE', `/api/v1/deploy-targets/${encodeURIComponent(id)}`)
      context.out.summary({ id }, [`forgot "${id}"`])
    },
  },
]

function certificatePath(id: string): string {
  return `/api/v1/certificates/${encodeURIComponent(id)}`
}

function stateOf({ deployed_at, error }: Deployment): string {
  if (error !== '') return error
  return deployed_at === null ? 'not yet' : `deployed ${deployed_at.slice(0, 16)}`
}
