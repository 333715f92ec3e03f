import { readFile } from 'node:fs/promises'
import { AppError, messageOf } from '../core/app-error.ts'
import { type Command, operand } from './command.ts'
import { table } from './output.ts'

interface Account {
  _id: string
  name: string
  directory_url: string
  is_staging: boolean
  email: string
  profile: string
  orders: { used: number; limit: number; hours: number }
}

const projectOption = { project: { type: 'string', value: 'NAME', help: 'the project ("default" if not given)' } } as const

export const commands: Command[] = [
  {
    name: 'acme list',
    summary: 'list accounts at ACME CAs',
    examples: ['acme list'],
    async run(context) {
      const { items } = await context.api<{ items: Account[] }>('GET', '/api/v1/acme-accounts?limit=500')
      const rows = items.map((item) => [
        item.name,
        new URL(item.directory_url).host,
        item.is_staging ? 'staging' : '',
        `${item.orders.used} of ${item.orders.limit}`,
        item._id,
      ])
      context.out.summary(
        { accounts: items },
        items.length === 0
          ? ['there is no account yet: run "certautopilot acme create NAME --ca letsencrypt --email YOU --agree"']
          : table([['name', 'CA', '', 'orders in 3 h', 'id'], ...rows]),
      )
    },
  },
  {
    name: 'acme create',
    summary: 'make an account at an ACME CA',
    operands: 'NAME',
    options: {
      ...projectOption,
      ca: {
        type: 'string',
        value: 'CA',
        help: 'letsencrypt, letsencrypt-staging, google, google-staging, zerossl, or the URL of a directory',
      },
      email: { type: 'string', help: 'where the CA may write to' },
      agree: { type: 'boolean', help: 'you have read the terms of the CA and agree' },
      'trust-anchors': { type: 'string', value: 'FILE', help: 'PEM of CAs that are trusted when this CA is asked' },
      profile: { type: 'string', help: 'a certificate profile that the CA offers' },
      'eab-key-id': { type: 'string', value: 'ID', help: 'external account; its HMAC key comes from CERTAUTOPILOT_EAB_HMAC_KEY' },
      staging: { type: 'boolean', help: 'mark it as a CA for trying things out' },
    },
    examples: [
      'acme create le --ca letsencrypt --email ops@example.org --agree',
      'acme create own --ca https://ca.internal/acme/directory --trust-anchors root.pem',
      'CERTAUTOPILOT_EAB_HMAC_KEY=... acme create zero --ca zerossl --eab-key-id KID --agree',
    ],
    async run(context, args) {
      const anchors = args.text('trust-anchors')
      const keyId = args.text('eab-key-id')
      const hmacKey = keyId === undefined ? undefined : await context.askSecret('EAB HMAC key: ', 'CERTAUTOPILOT_EAB_HMAC_KEY')
      const account = await context.api<Account>('POST', '/api/v1/acme-accounts', {
        project: args.text('project') ?? 'default',
        name: operand(args, 0, 'NAME'),
        ca: args.text('ca') ?? 'letsencrypt-staging',
        email: args.text('email'),
        agrees_to_terms: args.flag('agree'),
        trust_anchors_pem: anchors === undefined ? undefined : await readAnchors(anchors),
        profile: args.text('profile'),
        is_staging: args.flag('staging') ? true : undefined,
        eab: keyId === undefined ? undefined : { key_id: keyId, hmac_key: hmacKey },
      })
      context.out.summary(account, [
        `made account "${account.name}" (${account._id}) at ${new URL(account.directory_url).host}`,
        `next: certautopilot cert issue www.example.org --acme "${account.name}"`,
      ])
    },
  },
  {
    name: 'acme change-key',
    summary: 'replace the key of an account, here and at the CA',
    operands: 'ACCOUNT',
    examples: ['acme change-key 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const account = await context.api<Account>('POST', `${path(operand(args, 0, 'ACCOUNT'))}/key-change`)
      context.out.summary(account, [`account "${account.name}" has a new key`])
    },
  },
  {
    name: 'acme remove',
    summary: 'forget an account; at the CA it stays',
    operands: 'ACCOUNT',
    examples: ['acme remove 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = operand(args, 0, 'ACCOUNT')
      await context.api('DELETE', path(id))
      context.out.summary({ id }, [`forgot account "${id}"`])
    },
  },
]

function path(id: string): string {
  return `/api/v1/acme-accounts/${encodeURIComponent(id)}`
}

async function readAnchors(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new AppError('usage', `cannot read "${file}": ${messageOf(error)}`, { cause: error })
  }
}
