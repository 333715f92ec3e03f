import { isSetUp } from './access/setup.ts'
import type { App } from './app.ts'
import { systemActor } from './audit/audit.ts'
import { linkAudit } from './audit/link-audit.ts'
import { backupJobKinds, requestBackupJob } from './backup/backup-jobs.ts'
import { noteOverdueBackup, noteOverdueDrill, whyBackupIsDue } from './backup/due-backup.ts'
import { noteExpiring } from './certificates/note-expiring.ts'
import { requestDueRenewals } from './certificates/renew-certificate.ts'
import { refreshRenewalTimes } from './certificates/renewal-information.ts'
import { hourMs, minuteMs, secondMs } from './core/clock.ts'
import type { Schedule } from './jobs/scheduler.ts'
import { fanOut } from './notify/fan-out.ts'

/** What the scheduler's leader does, and how often. */
export function schedulesOf(app: App, signal: AbortSignal): Schedule[] {
  const { store, clock, config } = app
  return [
    {
      name: 'link audit entries',
      everyMs: secondMs,
      run: async () => app.anchor.note(await linkAudit(store, app.auditSecret)),
    },
    {
      name: 'tell what has happened',
      everyMs: secondMs,
      async run() {
        if (!app.isDrill && (await app.mayAct())) await fanOut(app.notify)
      },
    },
    {
      name: 'look for certificates that expire',
      everyMs: hourMs,
      async run() {
        if (!app.isDrill && (await app.mayAct())) await noteExpiring(app.certificates)
      },
    },
    {
      name: 'queue due renewals',
      everyMs: config['scheduler.interval_seconds'] * secondMs,
      async run() {
        if (!app.isDrill && (await app.mayAct())) await requestDueRenewals(app.certificates, { actor: systemActor })
      },
    },
    {
      name: 'ask CAs when to renew',
      everyMs: config['scheduler.interval_seconds'] * secondMs,
      async run() {
        if (!app.isDrill && (await app.mayAct())) await refreshRenewalTimes(app.certificates, signal)
      },
    },
    {
      name: 'look for backups and drills that are overdue',
      everyMs: 10 * minuteMs,
      async run() {
        if (app.isDrill || !(await isSetUp(store))) return
        await noteOverdueBackup(app.host.backup, store)
        await noteOverdueDrill(app.host.backup, store)
      },
    },
    {
      name: 'take backups when they are due',
      everyMs: config['scheduler.interval_seconds'] * secondMs,
      afterMs: config['scheduler.interval_seconds'] * secondMs,
      async run() {
        if (app.isDrill || !(await app.mayAct()) || !(await isSetUp(store))) return
        const reason = await whyBackupIsDue(app.host.backup, store)
        if (reason === undefined) return
        await requestBackupJob(store, systemActor, backupJobKinds.create, 'host', clock.now(), reason)
      },
    },
    { name: 'remove what has expired', everyMs: minuteMs, run: () => store.removeExpired(clock.now()) },
  ]
}
