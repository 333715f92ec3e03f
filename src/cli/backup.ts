import { hostActor } from '../audit/audit.ts'
import { backupTaken, copied, heartbeat, retained, targetLine, told } from '../backup/backup-jobs.ts'
import type { CatalogueEntry } from '../backup/catalogue.ts'
import { countsOf } from '../backup/catalogue.ts'
import { requireWhole, type TargetResult } from '../backup/copy-to-targets.ts'
import { createBackup } from '../backup/create-backup.ts'
import type { BackupParts } from '../backup/parts.ts'
import { pinBackup, previewPrune, pruneBackups, unpinBackup } from '../backup/prune-backups.ts'
import { verifyBackup } from '../backup/verify-backup.ts'
import { verifyListed } from '../backup/verify-listed.ts'
import { recipientOf } from '../bundle/age-keys.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { AppError } from '../core/app-error.ts'
import { formatBytes, formatCount, formatDuration, plural } from '../core/units.ts'
import { type Command, fromOption, identityOption, operand } from './command.ts'
import { commands as keyCommands } from './keys.ts'
import { table } from './output.ts'
import { commands as quiesceCommands } from './quiesce.ts'
import { commands as targetCommands } from './targets.ts'

export const commands: Command[] = [
  {
    name: 'backup create',
    summary: 'take a backup of database and keys, prove that it opens, and publish it',
    examples: ['backup create', 'backup create --json'],
    async run(context) {
      const host = await context.host()
      let retention = ''
      let beat = ''
      let targets: TargetResult[] = []
      const result = await context.withStore(host, async (store) => {
        const failure = { event: 'backup.failed', subject: 'host' }
        const taken = await told(store, hostActor, failure, () => createBackup(host.backup, store, context.signal))
        await store.commit([backupTaken(hostActor, taken)])
        targets = await copied(host.backup, store, hostActor, context.signal)
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
        },
        [
          pointLine(manifest),
          `database   ${plural(countsOf(manifest).certificates ?? 0, 'certificate')}, ${plural(documents, 'document')}, ${formatBytes(sumBytes(manifest))}`,
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
          ...(manifest.suspect === '' ? [] : [`suspect    ${manifest.suspect}: look before you trust it`]),
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
      const { backup } = await context.host({ identityFile: args.text('identity'), from: args.text('from') })
      const level = args.text('level') ?? 'full'
      if (level !== 'full' && level !== 'quick') throw new AppError('usage', `--level is "${level}", expected quick or full`)
      const bundle = args.positionals[0] ?? (await newest(await backup.source.list()))
      const result = await verifyListed(backup, { bundle, level, acceptForeign: args.flag('accept-foreign') })
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
  {
    name: 'backup prune',
    summary: 'remove the bundles that no rule of retention keeps',
    options: { 'dry-run': { type: 'boolean', help: 'only show what would stay and go, and why' } },
    examples: ['backup prune --dry-run', 'backup prune'],
    async run(context, args) {
      const { backup } = await context.host()
      const plan = await previewPrune(backup)
      const isDry = args.flag('dry-run')
      const removed = isDry ? [] : await pruneBackups(backup)
      const rows = plan.verdicts.map(({ entry, isKept, reasons }) => [entry.name, isKept ? 'keep' : 'remove', reasons.join('; ')])
      context.out.summary(
        {
          is_dry_run: isDry,
          stopped: plan.stopped,
          removed,
          bundles: plan.verdicts.map(({ entry, isKept, reasons }) => ({ name: entry.name, is_kept: isKept, reasons })),
        },
        [
          ...(rows.length === 0 ? ['there is no bundle'] : table([['bundle', '', 'why'], ...rows])),
          ...(plan.stopped === '' ? [] : [`nothing may be removed now: ${plan.stopped}`]),
          ...(isDry ? [] : [`removed ${plural(removed.length, 'bundle')}`]),
        ],
      )
    },
  },
  {
    name: 'backup pin',
    summary: 'keep a bundle whatever the rules of retention say',
    operands: 'BUNDLE',
    options: {
      reason: { type: 'string', value: 'TEXT', help: 'why, for whoever asks later' },
      until: { type: 'string', value: 'DATE', help: 'when the pin ends, as 2027-03-31; never if not given' },
    },
    examples: ['backup pin certautopilot-backup-20261123-031502.tar.age --reason "before the move" --until 2027-03-31'],
    async run(context, args) {
      const bundle = operand(args, 0, 'BUNDLE')
      const reason = args.text('reason')
      if (reason === undefined) throw new AppError('usage', '--reason is missing: say why, for whoever asks later')
      const until = args.text('until')
      const untilDate = until === undefined ? null : new Date(until)
      if (untilDate !== null && Number.isNaN(untilDate.getTime()))
        throw new AppError('usage', `--until is "${until}", expected a date as 2027-03-31`)
      const pin = { reason, until: untilDate?.toISOString() ?? null, by: hostActor.name }
      await pinBackup((await context.host()).backup, bundle, pin)
      context.out.summary({ bundle, pin }, [
        `"${bundle}" stays ${until === undefined ? 'until it is unpinned' : `until ${until}`}: ${reason}`,
      ])
    },
  },
  {
    name: 'backup unpin',
    summary: 'leave a bundle to the rules of retention again',
    operands: 'BUNDLE',
    examples: ['backup unpin certautopilot-backup-20261123-031502.tar.age'],
    async run(context, args) {
      const bundle = operand(args, 0, 'BUNDLE')
      await unpinBackup((await context.host()).backup, bundle)
      context.out.summary({ bundle }, [`"${bundle}" is left to the rules again`])
    },
  },
  {
    name: 'backup key test',
    summary: 'prove that the recovery kit opens the newest bundle',
    options: { identity: { type: 'string', value: 'FILE', help: 'the recovery kit' } },
    examples: ['backup key test --identity certautopilot-recovery-kit.txt'],
    async run(context, args) {
      const identityFile = args.text('identity')
      if (identityFile === undefined) throw new AppError('usage', '--identity is missing: name the recovery kit')
      const { backup } = await context.host({ identityFile })
      await requireRecoveryIdentity(backup, identityFile)
      const bundle = await newest(await backup.catalogue.list())
      const result = await verifyBackup(backup, {
        bundle,
        level: 'full',
        identities: await backup.host.identities(),
        acceptForeign: false,
      })
      if (!result.isSealed) throw new AppError('nothing-verified', `"${bundle}" is not sealed, so opening it proves nothing`)
      const now = new Date().toISOString()
      await backup.catalogue.addState(bundle, { verified_at: now, verified_level: 'full', recovery_proven_at: now })
      // The bundle goes one day, and the proof stays.
      await backup.standing.change((before) => ({ ...before, recovery_proven_at: now }))
      context.out.summary({ bundle, envelopes: result.envelopes }, [
        `the recovery kit opens "${bundle}": ${result.envelopes.opened} of ${plural(result.envelopes.total, 'envelope')}. Now take it off this machine.`,
      ])
    },
  },
  ...quiesceCommands,
  ...keyCommands,
  ...targetCommands,
]

function pointLine({ point_in_time: point }: Manifest): string {
  const how = point.method === 'snapshot' ? 'snapshot   ' : 'quiesced   '
  return `${how}${shortTime(point.taken_at)} UTC, ${point.method === 'snapshot' ? 'proven' : 'every process had stopped writing'}`
}

/** Proves something only if the bundle is sealed, and the identity is a person's and not the host's own. */
async function requireRecoveryIdentity(backup: BackupParts, identityFile: string): Promise<void> {
  const people = backup.config['backup.recipients']
  const recipients = await Promise.all((await backup.host.identities()).map(recipientOf))
  if (recipients.some((recipient) => people.includes(recipient))) return
  throw new AppError('wrong-identity', `"${identityFile}" holds none of the identities that bundles are sealed to for people`, {
    hint: 'backup.recipients in config.yaml lists their recipients; the recovery kit holds the identity',
  })
}

async function newest(entries: CatalogueEntry[]): Promise<string> {
  const entry = entries.find((candidate) => !candidate.isDamaged && candidate.state.failed_at === undefined)
  if (entry === undefined) throw new AppError('not-found', 'there is no bundle yet', { hint: 'run "certautopilot backup create"' })
  return entry.name
}

function listed({ name, bytes, isDamaged, isRemoved = false, sidecar, state }: CatalogueEntry): object {
  return {
    name,
    bytes,
    is_damaged: isDamaged,
    is_removed: isRemoved,
    created_at: sidecar?.manifest.created_at,
    kek: sidecar?.manifest.kek,
    suspect: sidecar?.manifest.suspect ?? '',
    ...state,
  }
}

function stateOf({ bytes, isDamaged, isRemoved, sidecar, state }: CatalogueEntry): string {
  if (isDamaged) return 'damaged: counts for nothing'
  if (isRemoved) return 'REMOVED or overwritten there, but a version is left: it can be restored'
  if (state.failed_at !== undefined) return `FAILED its verification ${shortTime(state.failed_at)}: ${state.failure}`
  if (sidecar === undefined) return 'without manifest: run "backup verify"'
  if (sidecar.artefact.bytes !== bytes) return `DAMAGED: its manifest says ${formatBytes(sidecar.artefact.bytes)}`
  const suspect = sidecar.manifest.suspect === '' ? '' : 'SUSPECT, '
  const recovery =
    state.recovery_proven_at === undefined ? 'recovery unproven' : `recovery proven ${shortTime(state.recovery_proven_at)}`
  return `${suspect}${state.verified_level ?? 'not'} verified ${shortTime(state.verified_at ?? '')}, ${recovery}`
}

function kekNames(manifest: Manifest | undefined): string {
  return manifest?.kek.versions.map(({ version, fingerprint }) => `v${version} ${fingerprint.slice(0, 4)}`).join(', ') ?? '?'
}

function sumBytes(manifest: Manifest): number {
  return manifest.collections.reduce((sum, { bytes }) => sum + bytes, 0)
}

function shortTime(iso: string): string {
  return iso.slice(0, 19).replace('T', ' ')
}

function shortRecipient(recipient: string): string {
  return `${recipient.slice(0, 8)}...${recipient.slice(-4)}`
}
