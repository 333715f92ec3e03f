import { type Command, operand, settingOf } from './command.ts'
import { table } from './output.ts'

interface Credential {
  _id: string
  name: string
  provider: string
  probed_at: string | null
  probe_error: string
}

export const commands: Command[] = [
  {
    name: 'dns list',
    summary: 'list credentials for DNS zones',
    examples: ['dns list'],
    async run(context) {
      const { items } = await context.api<{ items: Credential[] }>('GET', '/api/v1/dns-credentials?limit=500')
      const rows = items.map((item) => [item.name, item.provider, probeText(item), item._id])
      context.out.summary(
        { credentials: items },
        items.length === 0
          ? ['there is no DNS credential yet: "certautopilot dns create --help" shows how to make one']
          : table([['name', 'provider', 'last test', 'id'], ...rows]),
      )
    },
  },
  {
    name: 'dns create',
    summary: 'keep a credential for DNS zones; its secret comes from CERTAUTOPILOT_DNS_SECRET or is asked for',
    operands: 'NAME',
    options: {
      project: { type: 'string', value: 'NAME', help: 'the project ("default" if not given)' },
      provider: { type: 'string', value: 'PROVIDER', help: 'rfc2136, cloudflare or route53' },
      set: {
        type: 'string',
        value: 'KEY=VALUE',
        multiple: true,
        help: 'rfc2136: server, port, key_name, algorithm; route53: access_key_id, zone_id; all: check_servers, the servers that must show a record',
      },
    },
    examples: [
      'dns create zone --provider rfc2136 --set server=ns1.example.org --set key_name=acme-key',
      'CERTAUTOPILOT_DNS_SECRET=... dns create zone --provider rfc2136 --set server=192.0.2.1 --set key_name=acme-key',
    ],
    async run(context, args) {
      const credential = await context.api<Credential>('POST', '/api/v1/dns-credentials', {
        project: args.text('project') ?? 'default',
        name: operand(args, 0, 'NAME'),
        provider: args.text('provider') ?? 'rfc2136',
        settings: Object.fromEntries(args.list('set').map(settingOf)),
        secret: await context.askSecret('secret (TSIG key in base64, or API token): ', 'CERTAUTOPILOT_DNS_SECRET'),
      })
      context.out.summary(credential, [
        `kept "${credential.name}" (${credential._id})`,
        `next: certautopilot dns test "${credential._id}" example.org`,
      ])
    },
  },
  {
    name: 'dns test',
    summary: 'prove a credential: write a record, see it at the servers of the zone, remove it',
    operands: 'CREDENTIAL DOMAIN',
    examples: ['dns test 01k9x5n0k8v7r9t2 example.org'],
    async run(context, args) {
      const found = await context.api<{ zone: string; name: string; seconds: number }>(
        'POST',
        `${path(operand(args, 0, 'CREDENTIAL'))}/test`,
        { domain: operand(args, 1, 'DOMAIN') },
      )
      context.out.summary(found, [
        `works: "${found.name}" was seen at every server of zone "${found.zone}" and removed, ${found.seconds.toFixed(1)} s`,
      ])
    },
  },
  {
    name: 'dns remove',
    summary: 'forget a credential',
    operands: 'CREDENTIAL',
    examples: ['dns remove 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = operand(args, 0, 'CREDENTIAL')
      await context.api('DELETE', path(id))
      context.out.summary({ id }, [`forgot DNS credential "${id}"`])
    },
  },
]

function path(id: string): string {
  return `/api/v1/dns-credentials/${encodeURIComponent(id)}`
}

function probeText({ probed_at, probe_error }: Credential): string {
  if (probed_at === null) return 'never'
  return probe_error === '' ? `works, ${probed_at.slice(0, 16)}` : probe_error
}
