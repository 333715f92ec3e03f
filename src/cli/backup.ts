import { existsSync } from 'node:fs'
import { audited, hostActor } from '../audit/audit.ts'
import { backupTaken, copied, heartbeat, retained, targetLine, told } from '../backup/backup-jobs.ts'
import type { CatalogueEntry } from '../backup/catalogue.ts'
import { bytesOf, countsOf, newestPublished, suspicionOf } from '../backup/catalogue.ts'
import { requireWhole } from '../backup/copy-to-targets.ts'
import { type BackupResult, createBackup } from '../backup/create-backup.ts'
import { prepareCopies } from '../backup/early-copies.ts'
import type { TargetResult } from '../backup/prune-target.ts'
import { isBadBundle, verifyListed } from '../backup/verify-listed.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { AppError, messageOf } from '../core/app-error.ts'
import { formatBytes, formatCount, formatDuration, plural } from '../core/units.ts'
import { type Command, fromOption, identityOption, operand } from './command.ts'
import type { Context } from './context.ts'
import { commands as keyCommands } from './keys.ts'
import { table } from './output.ts'
import { commands as quiesceCommands } from './quiesce.ts'
import { commands as retentionCommands } from './retention.ts'
import { commands as targetCommands } from './targets.ts'

export const commands: Command[] = [
  {
    name: 'backup create',
    summary: 'take a backup of database and keys, prove that it opens, and publish it',
    options: { profile: { type: 'boolean', help: 'show where the time went, and how much of the processors it took' } },
    examples: ['backup create', 'backup create --json', 'backup create --profile'],
    async run(context, args) {
      const host = await context.host()
      let retention = ''
      let beat = ''
      let targets: TargetResult[] = []
      const result = await context.withStore(host, async (store) => {
        await using early = await prepareCopies(host.backup, context.signal)
        const failure = { event: 'backup.failed', subject: 'host', signal: context.signal }
        const taken = await told(store, hostActor, failure, () => createBackup(host.backup, store, context.signal, early))
        await store.commit([backupTaken(hostActor, taken)])
        targets = await copied(host.backup, store, hostActor, context.signal, early)
        retention = await retained(host.backup, store, hostActor)
        beat = await heartbeat(host.backup, targets)
        return taken
      })
      const { manifest, artefact } = result.sidecar
      const documents = manifest.collections.reduce((sum, { count }) => sum + count, 0)
      context.out.summary(
        {
          bundle: result.name,
          bytes: result.bytes,
          documents,
          envelopes: result.envelopes,
          counts: countsOf(manifest),
          recipients: artefact.recipients,
          suspect: manifest.suspect,
          retention,
          targets,
          heartbeat: beat,
          notes: result.notes,
          ...(args.flag('profile') ? { profile: profileOf(result) } : {}),
        },
        [
          pointLine(manifest),
          `database   ${plural(countsOf(manifest).certificates ?? 0, 'certificate')}, ${plural(documents, 'document')}, ${formatBytes(bytesOf(manifest))}`,
          `secrets    KEK ${kekNames(manifest)}`,
          `opened     ${formatCount(result.envelopes.opened)} of ${plural(result.envelopes.total, 'envelope')}`,
          `published  ${result.name}  ${formatBytes(result.bytes)}  in ${formatDuration(result.durationMs)}`,
          ...(artefact.recipients.length > 0
            ? [`sealed to  ${artefact.recipients.map(shortRecipient).join(', ')}`]
            : ['sealed to  nobody: whoever has the file has the keys']),
          retention.replace(': ', '  '),
          ...targets.map((result) => targetLine(result).replace(/^target /, 'target     ')),
          ...result.notes.map((note) => `note       ${note}`),
          ...(beat === '' ? [] : [beat.replace(': ', '  ')]),
          ...(args.flag('profile') ? profileLines(result) : []),
          ...(manifest.suspect === ''
            ? []
            : [`suspect    ${manifest.suspect}: look at it, and "backup accept" it when it holds what it should`]),
        ],
      )
      requireWhole(targets)
    },
  },
  {
    name: 'backup list',
    summary: 'list the bundles of this host or of a target, newest first',
    options: fromOption,
    examples: ['backup list', 'backup list --from offsite --json'],
    async run(context, args) {
      const { backup } = await context.host({ from: args.text('from') })
      const entries = await backup.source.list()
      const rows = entries.map((entry) => [entry.name, formatBytes(entry.bytes), kekNames(entry.sidecar?.manifest), stateOf(entry)])
      const lines =
        entries.length === 0
          ? [`no bundle in "${backup.source.directory}" yet: run "certautopilot backup create"`]
          : table([['bundle', 'size', 'KEK', 'state'], ...rows])
      context.out.summary({ directory: backup.source.directory, bundles: entries.map(listed) }, lines)
    },
  },
  {
    name: 'backup show',
    summary: 'show what a bundle holds and which keys it needs',
    operands: 'BUNDLE',
    examples: ['backup show certautopilot-backup-20261123-031502.tar.age', 'backup show ./copied.tar.age --json'],
    async run(context, args) {
      const file = await (await context.host()).backup.catalogue.open(operand(args, 0, 'BUNDLE'))
      if (file.sidecar === undefined) {
        throw new AppError('not-found', `"${file.name}" has no manifest beside it`, {
          hint: '"backup verify" reads the manifest inside the bundle',
        })
      }
      const { manifest, signer, artefact } = file.sidecar
      const rows = manifest.collections.map(({ name, count, bytes }) => [name, formatCount(count), formatBytes(bytes)])
      context.out.summary({ bundle: file.name, manifest, signer, artefact }, [
        `bundle        ${file.name}  ${formatBytes(file.bytes)}`,
        ...(file.bytes === artefact.bytes
          ? []
          : [`DAMAGED       it has ${formatCount(file.bytes)} bytes, its manifest says ${formatCount(artefact.bytes)}`]),
        `taken         ${shortTime(manifest.point_in_time.taken_at)} UTC from ${manifest.store.engine} database "${manifest.store.database}"`,
        `installation  ${manifest.installation_id}, epoch ${manifest.epoch}, schema ${manifest.schema_version}, version ${manifest.app_version}`,
        `keys          ${manifest.kek.versions.map((kek) => `v${kek.version} (${kek.fingerprint.slice(0, 4)} ${kek.fingerprint.slice(4, 8)}) opened ${kek.opened} of ${kek.envelopes}`).join(', ')}`,
        `signed by     ${signer}`,
        `sealed to     ${artefact.recipients.join(', ') || 'nobody'}`,
        ...table([['collection', 'documents', 'size'], ...rows]),
      ])
    },
  },
  {
    name: 'backup verify',
    summary: 'read a bundle from front to back and open its envelopes with its own keys',
    operands: '[BUNDLE]',
    options: {
      level: { type: 'string', value: 'quick|full', help: 'full (default) opens every envelope, quick a sample' },
      ...identityOption,
      ...fromOption,
    },
    examples: [
      'backup verify',
      'backup verify --from offsite --identity recovery-kit.txt',
      'backup verify certautopilot-backup-20261123-031502.tar.age --level quick',
      'backup verify ./copied.tar.age --identity recovery-kit.txt',
    ],
    async run(context, args) {
      const host = await context.host({ identityFile: args.text('identity'), from: args.text('from') })
      const { backup } = host
      const level = args.text('level') ?? 'full'
      if (level !== 'full' && level !== 'quick') throw new AppError('usage', `--level is "${level}", expected quick or full`)
      const bundle = args.positionals[0] ?? newestPublished(await backup.source.list())
      const result = await verifyListed(backup, { bundle, level, acceptForeign: args.flag('accept-foreign') }).catch(
        async (error) => {
          if (isBadBundle(error) && !bundle.includes('/')) await tellUnverified(context, host, bundle, error)
          throw error
        },
      )
      const { manifest } = result.signed
      context.out.summary(
        {
          bundle: result.name,
          level,
          documents: result.documents,
          envelopes: result.envelopes,
          signer: result.signed.signer,
          is_sealed: result.isSealed,
          num_errors: 0,
        },
        [
          `bundle     ${result.name}, signature good`,
          `database   ${plural(countsOf(manifest).certificates ?? 0, 'certificate')}, ${plural(countsOf(manifest).users ?? 0, 'user')}, ${plural(result.documents, 'document')}`,
          `opened     ${formatCount(result.envelopes.opened)} of ${plural(result.envelopes.total, 'envelope')} with KEK ${kekNames(manifest)}`,
          `verified   ${level}, in ${formatDuration(result.durationMs)}`,
        ],
      )
    },
  },
  ...retentionCommands,
  ...quiesceCommands,
  ...keyCommands,
  ...targetCommands,
]

/** People are told from the audit log. A machine without a database, which only has a bundle, tells nobody. */
async function tellUnverified(context: Context, host: Awaited<ReturnType<Context['host']>>, bundle: string, error: unknown) {
  if (host.config['database.engine'] === 'embedded' && !existsSync(host.paths.database)) return
  const entry = audited(hostActor, 'backup.unverified', bundle, { bundle, error: messageOf(error) })
  await context.withStore(host, (store) => store.commit([entry])).catch(() => {})
}

function profileOf({ stages, durationMs }: BackupResult) {
  const { user, system } = process.cpuUsage()
  return { stages, duration_ms: durationMs, cpu_ms: (user + system) / 1000, peak_bytes: process.resourceUsage().maxRSS * 1024 }
}

/** The processor time is that of the whole command, its threads included. */
function profileLines(result: BackupResult): string[] {
  const { stages, duration_ms, cpu_ms, peak_bytes } = profileOf(result)
  const shown = stages.filter(({ durationMs }) => durationMs >= 1)
  return [
    `profile    ${formatDuration(duration_ms)}, processors ${formatDuration(cpu_ms)}, memory ${formatBytes(peak_bytes)}`,
    ...shown.map(({ stage, durationMs }) => `  ${formatDuration(durationMs).padStart(8)}  ${stage}`),
  ]
}

function pointLine({ point_in_time: point }: Manifest): string {
  const how = point.method === 'snapshot' ? 'snapshot   ' : 'quiesced   '
  return `${how}${shortTime(point.taken_at)} UTC, ${point.method === 'snapshot' ? 'proven' : 'every process had stopped writing'}`
}

function listed(entry: CatalogueEntry): object {
  const { name, bytes, isDamaged, isRemoved = false, sidecar, state } = entry
  return {
    name,
    bytes,
    is_damaged: isDamaged,
    is_removed: isRemoved,
    created_at: sidecar?.manifest.created_at,
    kek: sidecar?.manifest.kek,
    suspect: suspicionOf(entry),
    ...state,
  }
}

function stateOf(entry: CatalogueEntry): string {
  const { isDamaged, isRemoved, sidecar, state } = entry
  if (isDamaged) return 'damaged: counts for nothing'
  if (isRemoved) return 'REMOVED or overwritten there, but a version is left: it can be restored'
  if (state.failed_at !== undefined) return `FAILED its verification ${shortTime(state.failed_at)}: ${state.failure}`
  if (sidecar === undefined) return 'without manifest: run "backup verify"'
  const suspect = suspicionOf(entry) === '' ? '' : 'SUSPECT, '
  const recovery =
    state.recovery_proven_at === undefined ? 'recovery unproven' : `recovery proven ${shortTime(state.recovery_proven_at)}`
  return `${suspect}${state.verified_level ?? 'not'} verified ${shortTime(state.verified_at ?? '')}, ${recovery}`
}

function kekNames(manifest: Manifest | undefined): string {
  return manifest?.kek.versions.map(({ version, fingerprint }) => `v${version} ${fingerprint.slice(0, 4)}`).join(', ') ?? '?'
}

function shortTime(iso: string): string {
  return iso.slice(0, 19).replace('T', ' ')
}

function shortRecipient(recipient: string): string {
  return `${recipient.slice(0, 8)}...${recipient.slice(-4)}`
}
