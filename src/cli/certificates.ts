import { readFile, stat } from 'node:fs/promises'
import { AppError, messageOf } from '../core/app-error.ts'
import { plural } from '../core/units.ts'
import { type Arguments, type Command, operand } from './command.ts'
import type { Context } from './context.ts'
import { findImportFiles, type ImportFile } from './import-files.ts'
import { followJob, type ShownJob } from './jobs.ts'
import { table } from './output.ts'

interface Shown {
  _id: string
  name: string
  sans: string[]
  tags: string[]
  kind: string
  state: string
  issuer: string
  serial: string
  key_type: string
  not_before: string
  not_after: string
  auto_renew: boolean
  next_renewal_at: string
  has_key: boolean
  fingerprint: string
}

const projectOption = { project: { type: 'string', value: 'NAME', help: 'the project ("default" if not given)' } } as const
const importBatch = 100

export const commands: Command[] = [
  {
    name: 'cert list',
    summary: 'list certificates, soonest expiry first',
    options: {
      project: { type: 'string', value: 'NAME', help: 'only this project' },
      search: { type: 'string', help: 'words: parts of a name, issuer, serial or fingerprint' },
      tag: { type: 'string', help: 'only with this tag' },
      state: { type: 'string', value: 'STATE', help: 'active, expiring, expired or revoked' },
      kind: { type: 'string', value: 'KIND', help: 'managed or watched' },
      sort: { type: 'string', value: 'FIELD', help: 'not_after or name' },
      direction: { type: 'string', value: 'asc|desc', help: 'order' },
      limit: { type: 'string', value: 'N', help: 'at most N (50)' },
      cursor: { type: 'string', help: '"next_cursor" of the page before' },
    },
    examples: ['cert list', 'cert list --state expiring', 'cert list --search example.org --sort name'],
    async run(context, args) {
      const query = new URLSearchParams()
      for (const name of ['project', 'search', 'tag', 'state', 'kind', 'sort', 'direction', 'limit', 'cursor']) {
        const value = args.text(name)
        if (value !== undefined) query.set(name, value)
      }
      const page = await context.api<{ items: Shown[]; next_cursor: string | null }>('GET', `/api/v1/certificates?${query}`)
      const rows = page.items.map((item) => [item.name.slice(0, 48), item.state, item.not_after.slice(0, 10), item.kind, item._id])
      const more = page.next_cursor === null ? [] : [`more: add --cursor ${page.next_cursor}`]
      context.out.summary(
        page,
        page.items.length === 0
          ? ['no certificate matches']
          : [...table([['name', 'state', 'expires', 'kind', 'id'], ...rows]), ...more],
      )
    },
  },
  {
    name: 'cert show',
    summary: 'show a certificate',
    operands: 'CERTIFICATE',
    examples: ['cert show 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const item = await context.api<Shown>('GET', path(operand(args, 0, 'CERTIFICATE')))
      context.out.summary(item, [
        `name      ${item.name}`,
        `names     ${item.sans.join(', ')}`,
        ...(item.tags.length === 0 ? [] : [`tags      ${item.tags.join(', ')}`]),
        `state     ${item.state}, ${item.kind}${item.has_key ? ', key sealed here' : ''}`,
        `valid     ${item.not_before.slice(0, 19)} to ${item.not_after.slice(0, 19)}`,
        `renewal   ${item.auto_renew ? item.next_renewal_at.slice(0, 19) : 'not automatic'}`,
        `issuer    ${item.issuer}`,
        `serial    ${item.serial}`,
        `key       ${item.key_type}`,
        `sha256    ${item.fingerprint}`,
      ])
    },
  },
  {
    name: 'cert issue',
    summary: 'issue a certificate from an internal CA, or get one from an ACME CA',
    operands: 'NAME...',
    options: {
      ...projectOption,
      ca: { type: 'string', value: 'CA', help: 'which CA signs; the only one if not given' },
      csr: { type: 'string', value: 'FILE', help: 'sign this CSR instead of making a key' },
      'key-type': { type: 'string', value: 'TYPE', help: 'ec-p256 (default), ec-p384, rsa-2048, rsa-3072, rsa-4096' },
      days: { type: 'string', value: 'N', help: 'validity (90)' },
      'no-renew': { type: 'boolean', help: 'do not renew it automatically' },
      acme: { type: 'string', value: 'ACCOUNT', help: 'get it from the ACME CA of this account, and follow the job' },
      dns: { type: 'string', value: 'CREDENTIAL', help: 'prove the names by dns-01 (wildcards need it); http-01 if not given' },
      'no-follow': { type: 'boolean', help: 'with --acme: only queue the job' },
      'dry-run': { type: 'boolean', help: 'only say what would go wrong' },
    },
    examples: [
      'cert issue www.example.org example.org',
      'cert issue www.example.org --acme le',
      "cert issue '*.example.org' --acme le --dns zone",
      'cert issue --csr server.csr',
      'cert issue db.internal --key-type rsa-2048 --days 30',
    ],
    async run(context, args) {
      const csr = args.text('csr')
      const account = args.text('acme')
      if (args.flag('dry-run')) return preflight(context, args)
      const item = await context.api<Shown & { job_id: string | null }>('POST', '/api/v1/certificates', {
        project: args.text('project') ?? 'default',
        ca: args.text('ca'),
        names: args.positionals,
        csr_pem: csr === undefined ? undefined : (await readOperand(csr)).toString(),
        key_type: args.text('key-type'),
        validity_days: args.number('days'),
        auto_renew: args.flag('no-renew') ? false : undefined,
        acme: account === undefined ? undefined : { account, dns_credential: args.text('dns') },
      })
      if (item.job_id !== null && !args.flag('no-follow')) return followJob(context, item.job_id)
      if (item.job_id !== null) {
        const next = `certautopilot job show ${item.job_id} --follow`
        return context.out.summary(item, [`requested "${item.name}" (${item._id}): ${next}`])
      }
      context.out.summary(item, [`issued "${item.name}" (${item._id}), valid until ${item.not_after.slice(0, 10)}`])
    },
  },
  {
    name: 'cert import',
    summary: 'watch certificates from PEM or PKCS#12 files and directories',
    operands: 'FILE...',
    options: projectOption,
    examples: ['cert import /etc/ssl/certs', 'cert import server.pem', 'CERTAUTOPILOT_PASSPHRASE=... cert import server.p12'],
    async run(context, args) {
      operand(args, 0, 'FILE')
      const passphrase = context.environment.CERTAUTOPILOT_PASSPHRASE
      const { files, skipped } = await findImportFiles(args.positionals, passphrase)
      const report = { imported: 0, known: 0, skipped }
      for (const batch of batches(files)) {
        const done = await context.api<{ imported: number; known: number }>('POST', '/api/v1/certificates/import', {
          project: args.text('project') ?? 'default',
          files: batch,
        })
        report.imported += done.imported
        report.known += done.known
        context.out.progress({ phase: `imported ${report.imported}` })
      }
      context.out.summary(report, [
        `imported ${plural(report.imported, 'certificate')}, ${report.known} were there already`,
        ...skipped.slice(0, 10).map(({ file, reason }) => `skipped  ${file}: ${reason}`),
        ...(skipped.length > 10 ? [`skipped  ${skipped.length - 10} more`] : []),
      ])
    },
  },
  {
    name: 'cert renew',
    summary: 'renew a certificate now and follow the job',
    operands: 'CERTIFICATE',
    options: { 'no-follow': { type: 'boolean', help: 'only queue the job' } },
    examples: ['cert renew 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const job = await context.api<ShownJob>('POST', `${path(operand(args, 0, 'CERTIFICATE'))}/renew`)
      if (args.flag('no-follow')) context.out.summary(job, [`queued job ${job._id}: certautopilot job show ${job._id} --follow`])
      else await followJob(context, job._id)
    },
  },
  {
    name: 'cert tag',
    summary: 'add and remove tags',
    operands: 'CERTIFICATE',
    options: {
      add: { type: 'string', value: 'TAG,...', help: 'tags to add' },
      remove: { type: 'string', value: 'TAG,...', help: 'tags to remove' },
    },
    examples: ['cert tag 01k9x5n0k8v7r9t2 --add edge,prod', 'cert tag 01k9x5n0k8v7r9t2 --remove edge'],
    async run(context, args) {
      const words = (name: string) => (args.text(name) ?? '').split(',').filter((word) => word !== '')
      const change = { add: words('add'), remove: words('remove') }
      const item = await context.api<Shown>('POST', `${path(operand(args, 0, 'CERTIFICATE'))}/tag`, change)
      context.out.summary(item, [`"${item.name}" has ${item.tags.length === 0 ? 'no tag' : item.tags.join(', ')}`])
    },
  },
  {
    name: 'cert remove',
    summary: 'forget a certificate and its keys; a valid one is revoked first',
    operands: 'CERTIFICATE',
    examples: ['cert remove 01k9x5n0k8v7r9t2'],
    async run(context, args) {
      const id = operand(args, 0, 'CERTIFICATE')
      await context.api('DELETE', path(id))
      context.out.summary({ id }, [`certificate ${id} is forgotten; backups from before still hold it`])
    },
  },
  {
    name: 'cert revoke',
    summary: 'revoke a certificate of an internal CA',
    operands: 'CERTIFICATE',
    options: {
      reason: {
        type: 'string',
        value: 'REASON',
        help: 'unspecified, keyCompromise, affiliationChanged, superseded or cessationOfOperation',
      },
    },
    examples: ['cert revoke 01k9x5n0k8v7r9t2 --reason keyCompromise'],
    async run(context, args) {
      const item = await context.api<Shown>('POST', `${path(operand(args, 0, 'CERTIFICATE'))}/revoke`, {
        reason: args.text('reason'),
      })
      context.out.summary(item, [`revoked "${item.name}", serial ${item.serial}; the CRL names it from now on`])
    },
  },
  {
    name: 'cert download',
    summary: 'write a certificate, its chain, its key, or all in PKCS#12',
    operands: 'CERTIFICATE',
    options: {
      format: {
        type: 'string',
        value: 'FORMAT',
        help: 'pem (default), chain, fullchain, key or p12 (passphrase in CERTAUTOPILOT_PASSPHRASE)',
      },
    },
    examples: [
      'cert download 01k9x5n0k8v7r9t2 --format fullchain > fullchain.pem',
      'cert download 01k9x5n0k8v7r9t2 --format p12 > server.p12',
    ],
    async run(context, args) {
      const id = path(operand(args, 0, 'CERTIFICATE'))
      const format = args.text('format') ?? 'pem'
      if (format !== 'p12')
        return context.out.raw(await context.download('GET', `${id}/download?format=${encodeURIComponent(format)}`))
      const passphrase = await context.askSecret('passphrase for the PKCS#12 file: ', 'CERTAUTOPILOT_PASSPHRASE')
      context.out.raw(await context.download('POST', `${id}/pkcs12`, { passphrase }))
    },
  },
]

async function preflight(context: Context, args: Arguments): Promise<void> {
  const account = args.text('acme')
  const { checks } = await context.api<{ checks: { state: string; text: string }[] }>('POST', '/api/v1/certificates/preflight', {
    project: args.text('project') ?? 'default',
    names: args.positionals,
    acme: account === undefined ? undefined : { account, dns_credential: args.text('dns') },
  })
  context.out.summary(
    { checks },
    checks.map(({ state, text }) => `${state.padEnd(9)}${text}`),
  )
}

function path(id: string): string {
  return `/api/v1/certificates/${encodeURIComponent(id)}`
}

async function readOperand(file: string): Promise<Buffer> {
  try {
    if ((await stat(file)).size > 1_000_000) throw new Error('larger than a megabyte')
    return await readFile(file)
  } catch (error) {
    throw new AppError('usage', `cannot read "${file}": ${messageOf(error)}`, { cause: error })
  }
}

function* batches(files: ImportFile[]): Generator<ImportFile[]> {
  for (let start = 0; start < files.length; start += importBatch) yield files.slice(start, start + importBatch)
}
