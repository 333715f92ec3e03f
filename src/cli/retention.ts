import { hostActor } from '../audit/audit.ts'
import { acceptBackup, pinBackup, previewPrune, pruneBackups, unpinBackup } from '../backup/prune-backups.ts'
import { AppError } from '../core/app-error.ts'
import { plural } from '../core/units.ts'
import { type Arguments, type Command, operand } from './command.ts'
import { table } from './output.ts'

export const commands: Command[] = [
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
      const reason = requireReason(args)
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
    name: 'backup accept',
    summary: 'take a suspect bundle for what it should be, after looking at it',
    operands: 'BUNDLE',
    options: { reason: { type: 'string', value: 'TEXT', help: 'why, for whoever asks later' } },
    examples: ['backup accept certautopilot-backup-20261123-031502.tar.age --reason "two projects were closed"'],
    async run(context, args) {
      const bundle = operand(args, 0, 'BUNDLE')
      const reason = requireReason(args)
      await acceptBackup((await context.host()).backup, bundle, reason, hostActor.name)
      context.out.summary({ bundle, reason }, [`"${bundle}" is not suspect any more: the next bundles are compared with it`])
    },
  },
]

/** @throws AppError `usage` */
function requireReason(args: Arguments): string {
  const reason = args.text('reason')
  if (reason === undefined || reason.trim() === '')
    throw new AppError('usage', '--reason is missing: say why, for whoever asks later')
  return reason
}
