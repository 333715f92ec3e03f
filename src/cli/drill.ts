import { hostActor } from '../audit/audit.ts'
import { drillPassed, told } from '../backup/backup-jobs.ts'
import type { SignedDrillReport } from '../backup/drill-report.ts'
import type { BackupParts } from '../backup/parts.ts'
import { runDrill } from '../backup/run-drill.ts'
import { isSignedBy } from '../bundle/manifest.ts'
import { AppError } from '../core/app-error.ts'
import { formatDuration, plural } from '../core/units.ts'
import { type Command, fromOption, identityOption } from './command.ts'
import { table } from './output.ts'

export const commands: Command[] = [
  {
    name: 'drill run',
    summary: 'restore a bundle into isolation and prove that it works',
    operands: '[BUNDLE]',
    options: { ...identityOption, ...fromOption },
    examples: ['drill run', 'drill run certautopilot-backup-20261123-031502.tar.age --json'],
    async run(context, args) {
      const host = await context.host({ identityFile: args.text('identity'), from: args.text('from') })
      const { backup } = host
      const input = {
        bundle: args.positionals[0],
        identities: await backup.host.identities(),
        acceptForeign: args.flag('accept-foreign'),
      }
      const signed = await context.withStore(host, (store) =>
        told(store, hostActor, { event: 'drill.failed', subject: 'host', signal: context.signal }, async () => {
          const made = requirePassed(await runDrill(backup, store, input, context.signal))
          await store.commit([drillPassed(hostActor, made.report)])
          return made
        }),
      )
      context.out.summary(signed.report, drillLines(signed))
    },
  },
  {
    name: 'drill list',
    summary: 'list drills, newest first',
    examples: ['drill list'],
    async run(context) {
      const drills = await (await context.host()).backup.drills.list()
      const rows = drills.map(({ report }) => [
        report.id,
        report.started_at.slice(0, 19),
        report.outcome,
        formatDuration(report.recovery_ms),
        report.bundle,
      ])
      context.out.summary(
        { drills: drills.map(({ report }) => report) },
        drills.length === 0
          ? ['there was no drill yet: run "certautopilot drill run"']
          : table([['drill', 'started', 'outcome', 'recovery', 'bundle'], ...rows]),
      )
    },
  },
  {
    name: 'drill show',
    summary: 'show the report of a drill, the newest if none is named',
    operands: '[DRILL]',
    examples: ['drill show', 'drill show 01k9x5n0k8v7r9t2 --json'],
    async run(context, args) {
      const signed = await requireDrill((await context.host()).backup, args.positionals[0])
      context.out.summary(signed, drillLines(signed))
    },
  },
  {
    name: 'drill verify',
    summary: 'check the signature of a report',
    operands: '[DRILL]',
    examples: ['drill verify'],
    async run(context, args) {
      const { backup } = await context.host()
      const signed = await requireDrill(backup, args.positionals[0])
      const isKnown = (await backup.host.signers()).includes(signed.signer)
      if (!isKnown || !isSignedBy(signed.report, signed)) {
        throw new AppError('verification-failed', `the report "${signed.report.id}" was changed, or signed by another installation`)
      }
      context.out.summary({ drill: signed.report.id, signer: signed.signer }, [
        `the report "${signed.report.id}" is as it was signed by ${signed.signer}`,
      ])
    },
  },
]

/** @throws AppError `verification-failed` */
function requirePassed(signed: SignedDrillReport): SignedDrillReport {
  const { report } = signed
  if (report.outcome === 'passed') return signed
  throw new AppError('verification-failed', `the drill failed: ${report.failure}`, {
    hint: `"certautopilot drill show ${report.id}" shows how far it came`,
    details: { ...report },
  })
}

/** @throws AppError `not-found` */
async function requireDrill(backup: Pick<BackupParts, 'drills'>, id: string | undefined): Promise<SignedDrillReport> {
  const drills = await backup.drills.list()
  const found = id === undefined ? drills[0] : drills.find(({ report }) => report.id === id)
  if (found !== undefined) return found
  throw new AppError('not-found', id === undefined ? 'there was no drill yet' : `there is no drill "${id}"`, {
    hint: 'run "certautopilot drill run"',
  })
}

function drillLines({ report }: SignedDrillReport): string[] {
  const counts = report.counts.map(({ collection, restored, production }) => `${collection} ${restored}/${production}`).join(', ')
  return [
    `drill      ${report.id} ${report.outcome}${report.failure === '' ? '' : `: ${report.failure}`}`,
    `bundle     ${report.bundle}`,
    `isolation  ${report.isolation === 'network-namespace' ? 'network namespace without interfaces' : 'connection guard (this host allows no network namespace)'}`,
    `opened     ${report.envelopes.opened} of ${plural(report.envelopes.total, 'envelope')}`,
    `logged in  as the drill's user; opened "${report.opened_certificate}", its key fits`,
    `renewed    serial ${report.renewal.serial_before.slice(0, 8)} -> ${report.renewal.serial_after.slice(0, 8)} in ${plural(report.renewal.steps.length, 'step')}`,
    `compared   restored/production: ${counts}`,
    `recovery   ready in ${formatDuration(report.recovery_ms)} (${report.stages.map(({ stage, ms }) => `${stage} ${formatDuration(ms)}`).join(', ')})`,
  ]
}
