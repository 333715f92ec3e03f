import { targetLine } from '../backup/backup-jobs.ts'
import { isOfAnother } from '../backup/catalogue.ts'
import { copyToTargets, requireWhole } from '../backup/copy-to-targets.ts'
import { ownInstallation, type TargetAccess } from '../backup/parts.ts'
import { listTarget } from '../backup/target-catalogue.ts'
import { lifecycleRules, probeFindings, requireTarget, testTarget } from '../backup/test-target.ts'
import { messageOf } from '../core/app-error.ts'
import { formatDuration, plural } from '../core/units.ts'
import { type Command, operand } from './command.ts'
import { table } from './output.ts'

export const commands: Command[] = [
  {
    name: 'backup target list',
    summary: 'list where copies go, and what is there',
    examples: ['backup target list', 'backup target list --json'],
    async run(context) {
      const { backup } = await context.host()
      const standing = await backup.standing.read()
      const own = await ownInstallation(backup)
      const targets = (await Promise.all(backup.targets.map((access) => look(access, own)))).map((target) => ({
        ...target,
        last_error: standing.targets[target.name]?.error ?? '',
        whole_at: standing.targets[target.name]?.whole_at || null,
      }))
      context.out.summary(
        { targets },
        targets.length === 0
          ? ['there is no target: name one under backup.targets in config.yaml']
          : table([
              ['target', 'bundles', 'newest', 'last attempt', 'place'],
              ...targets.map(({ name, bundles, damaged, foreign, newest, place, error, last_error, whole_at }) => [
                name,
                error === ''
                  ? [
                      `${bundles}`,
                      ...(damaged > 0 ? [`${damaged} DAMAGED`] : []),
                      ...(foreign > 0 ? [`${foreign} of another installation`] : []),
                    ].join(', ')
                  : '?',
                error === '' ? newest || 'none' : 'cannot be read',
                error || last_error || (whole_at === null ? 'none' : `whole ${whole_at.slice(0, 16).replace('T', ' ')}`),
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
      const { rules } = location
      const findings = probeFindings(probe, rules)
      const lifecycle = probe.canRemove ? undefined : lifecycleRules(location)
      context.out.summary({ target: location.name, ...probe, findings, lifecycle }, [
        `target     ${location.name}, ${probe.place}: written, read and listed in ${formatDuration(probe.milliseconds)}`,
        rules.lockMode === 'none'
          ? 'lock       none: copies can be removed at any time by whoever has the right'
          : `lock       ${rules.lockMode}, for ${plural(rules.lockDays || rules.daily, 'day')} at first; longer for the bundle of a week or a month`,
        ...(probe.canRemove ? [] : ['append     this credential cannot remove: the target itself has to']),
        ...findings.map((finding) => `warning    ${finding}`),
        ...(lifecycle === undefined
          ? []
          : ['lifecycle  let the place itself remove what is old with these rules:', JSON.stringify(lifecycle, null, 2)]),
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

async function look({ location, open }: TargetAccess, installationId: string | undefined) {
  const { name } = location
  try {
    const target = await open()
    const entries = await listTarget(target)
    const own = entries.filter(({ sidecar }) => !isOfAnother(sidecar, installationId))
    const foreign = entries.length - own.length
    const whole = own.filter(({ isDamaged }) => !isDamaged)
    const damaged = own.length - whole.length
    return { name, place: target.place, bundles: whole.length, damaged, foreign, newest: whole[0]?.name ?? '', error: '' }
  } catch (error) {
    const place = location.url.href.split('?')[0] as string
    return { name, place, bundles: 0, damaged: 0, foreign: 0, newest: '', error: messageOf(error) }
  }
}
