import { targetLine } from '../backup/backup-jobs.ts'
import { copyToTargets, requireWhole } from '../backup/copy-to-targets.ts'
import type { TargetAccess } from '../backup/parts.ts'
import { listTarget } from '../backup/target-catalogue.ts'
import { requireTarget, testTarget } from '../backup/test-target.ts'
import { messageOf } from '../core/app-error.ts'
import { formatDuration } from '../core/units.ts'
import { type Command, operand } from './command.ts'
import { table } from './output.ts'

export const commands: Command[] = [
  {
    name: 'backup target list',
    summary: 'list where copies go, and what is there',
    examples: ['backup target list', 'backup target list --json'],
    async run(context) {
      const { backup } = await context.host()
      const targets = await Promise.all(backup.targets.map(look))
      context.out.summary(
        { targets },
        targets.length === 0
          ? ['there is no target: name one under backup.targets in config.yaml']
          : table([
              ['target', 'bundles', 'newest', 'place'],
              ...targets.map(({ name, bundles, newest, place, error }) => [
                name,
                error === '' ? String(bundles) : '?',
                newest || error || 'none',
                place,
              ]),
            ]),
      )
    },
  },
  {
    name: 'backup target test',
    summary: 'write, read, list and remove a small file at a target',
    operands: 'TARGET',
    examples: ['backup target test offsite'],
    async run(context, args) {
      const { location, open } = requireTarget((await context.host()).backup, operand(args, 0, 'TARGET'))
      const probe = await testTarget(await open())
      context.out.summary({ target: location.name, ...probe }, [
        `target     ${location.name}, ${probe.place}: written, read and listed in ${formatDuration(probe.milliseconds)}`,
        ...(location.rules.lockDays === 0
          ? []
          : [
              `lock       copies are locked for ${location.rules.lockDays} days: a removal before that is refused or only hides them`,
            ]),
        probe.canRemove
          ? 'warning    this credential can remove what is there: whoever takes this host can remove the copies; one that may only add is safer'
          : 'append     this credential cannot remove: let a lifecycle rule of the bucket do it, after the days that its lock lasts',
      ])
    },
  },
  {
    name: 'backup target sync',
    summary: 'bring the targets what they lack, without a new backup',
    examples: ['backup target sync'],
    async run(context) {
      const { backup } = await context.host()
      const targets = await copyToTargets(backup, context.signal)
      context.out.summary({ targets }, targets.length === 0 ? ['there is no target'] : targets.map(targetLine))
      requireWhole(targets)
    },
  },
]

async function look({ location, open }: TargetAccess) {
  const { name } = location
  try {
    const target = await open()
    const entries = await listTarget(target)
    return { name, place: target.place, bundles: entries.length, newest: entries[0]?.name ?? '', error: '' }
  } catch (error) {
    return { name, place: location.url.href.split('?')[0] as string, bundles: 0, newest: '', error: messageOf(error) }
  }
}
