import { hostActor } from '../audit/audit.ts'
import { countsOf } from '../backup/catalogue.ts'
import { restoreBackup } from '../backup/restore-backup.ts'
import { undoRestore } from '../backup/undo-restore.ts'
import { verifyBackup } from '../backup/verify-backup.ts'
import { formatDuration, plural } from '../core/units.ts'
import { openEpoch, releaseSafeMode } from '../epoch/epoch.ts'
import { type Command, fromOption, identityOption, operand } from './command.ts'
import type { Context } from './context.ts'
import { table } from './output.ts'

export const commands: Command[] = [
  {
    name: 'restore plan',
    summary: 'verify a bundle and show what a restore would do; changes nothing',
    operands: 'BUNDLE',
    options: { ...identityOption, ...fromOption },
    examples: [
      'restore plan certautopilot-backup-20261123-031502.tar.age',
      'restore plan ./copied.tar.age --identity recovery-kit.txt',
    ],
    async run(context, args) {
      const host = await context.host({ identityFile: args.text('identity'), from: args.text('from') })
      const { backup } = host
      const bundle = operand(args, 0, 'BUNDLE')
      const verified = await verifyBackup(backup, {
        bundle,
        level: 'full',
        identities: await backup.host.identities(),
        acceptForeign: args.flag('accept-foreign'),
      })
      const { manifest } = verified.signed
      const present = await presentCounts(context, host)
      const rows = Object.entries(countsOf(manifest))
        .filter(([name, count]) => count > 0 || (present[name] ?? 0) > 0)
        .map(([name, count]) => [name, String(present[name] ?? 0), String(count)])
      context.out.summary(
        {
          bundle: verified.name,
          taken_at: manifest.point_in_time.taken_at,
          present,
          bundle_counts: countsOf(manifest),
          envelopes: verified.envelopes,
        },
        [
          `bundle     ${verified.name}, of ${manifest.point_in_time.taken_at}, verified in full: ${verified.envelopes.opened} of ${plural(verified.envelopes.total, 'envelope')} opened`,
          `from       ${manifest.store.engine} database "${manifest.store.database}"`,
          `to         ${host.config['database.engine']} database "${host.config['database.name']}"`,
          ...table([['collection', 'now', 'after'], ...rows]),
          'then       the present is saved and kept for "restore undo"; portable settings and keys come from the bundle, host-bound ones stay;',
          '           the service starts in safe mode until "restore release"',
        ],
      )
    },
  },
  {
    name: 'restore apply',
    summary: 'restore a bundle: stage, verify, save the present, cut over, check',
    operands: 'BUNDLE',
    options: {
      ...identityOption,
      ...fromOption,
      'no-safety-bundle': { type: 'boolean', help: 'take no backup of the present first (it is kept aside all the same)' },
    },
    examples: [
      'restore apply certautopilot-backup-20261123-031502.tar.age',
      'restore apply ./copied.tar.age --identity recovery-kit.txt',
      'restore apply dump.archive.gz --accept-foreign',
    ],
    async run(context, args) {
      const { backup } = await context.host({ identityFile: args.text('identity'), from: args.text('from') })
      const result = await restoreBackup(
        backup,
        {
          bundle: operand(args, 0, 'BUNDLE'),
          identities: await backup.host.identities(),
          acceptForeign: args.flag('accept-foreign'),
          skipSafetyBundle: args.flag('no-safety-bundle'),
        },
        context.signal,
      )
      const stages = result.stages.map(({ stage, durationMs }) => `${stage} ${formatDuration(durationMs)}`).join(', ')
      context.out.summary(result, [
        ...result.warnings.map((warning) => `warning    ${warning}`),
        `restored   ${result.bundle}: ${plural(result.certificates, 'certificate')}, ${plural(result.documents, 'document')}`,
        `opened     ${result.envelopes.opened} of ${plural(result.envelopes.total, 'envelope')}`,
        `saved      ${result.safetyBundle === '' ? 'no bundle of the present: there was none, or it held no users and no certificates' : result.safetyBundle}; "restore undo" goes back`,
        `took       ${stages}`,
        `now        epoch ${result.epoch}, safe mode: start the service, look around, then run "certautopilot restore release"`,
      ])
    },
  },
  {
    name: 'restore undo',
    summary: 'put back what was there before the last restore',
    examples: ['restore undo'],
    async run(context) {
      const result = await undoRestore((await context.host()).backup, context.signal)
      context.out.summary(result, [
        ...result.warnings.map((warning) => `warning    ${warning}`),
        `undone     the restore of "${result.bundle}": database, secrets and configuration are those of before`,
        ...(result.safetyBundle === '' ? [] : [`saved      what was undone, as ${result.safetyBundle}`]),
      ])
    },
  },
  {
    name: 'restore status',
    summary: 'show whether the database is in safe mode, and where the last restore stands',
    examples: ['restore status'],
    async run(context) {
      const host = await context.host()
      const journal = await host.backup.host.readJournal()
      const epoch = await context.withStore(host, (store) => openEpoch(store, new Date()))
      context.out.summary({ epoch: epoch.epoch, safe_mode: epoch.safe_mode, reason: epoch.safe_mode_reason, journal }, [
        `epoch      ${epoch.epoch}`,
        `safe mode  ${epoch.safe_mode ? `on: ${epoch.safe_mode_reason}; "restore release" ends it` : 'off'}`,
        `restore    ${journal === undefined ? 'none on this host' : `"${journal.bundle}" is ${journal.phase}`}`,
      ])
    },
  },
  {
    name: 'restore release',
    summary: 'end safe mode: the restored service issues, renews and notifies again',
    examples: ['restore release'],
    async run(context) {
      const host = await context.host()
      const state = await context
        .api<{ epoch: number }>('POST', '/api/v1/restore/release')
        .catch(() => context.withStore(host, (store) => releaseSafeMode(store, hostActor, new Date())))
      context.out.summary({ epoch: state.epoch, safe_mode: false }, [`safe mode is off: epoch ${state.epoch} acts again`])
    },
  },
]

async function presentCounts(context: Context, host: Awaited<ReturnType<Context['host']>>): Promise<Record<string, number>> {
  try {
    return await context.withStore(host, async (store) => {
      const counts: Record<string, number> = {}
      for (const { name } of host.backup.collections) counts[name] = await store.count(name)
      return counts
    })
  } catch {
    return {}
  }
}
