import type { AuditEntry } from '../audit/audit.ts'
import type { Message, Severity } from './notify.ts'

interface EventText {
  severity: Severity
  title(data: Record<string, unknown>): string
}

const named = (text: string) => (data: Record<string, unknown>) => `${String(data.name ?? '')} ${text}`.trim()

/** Which entries of the audit log a person is told of, and how grave they are. */
export const events: Readonly<Record<string, EventText>> = {
  'certificate.requested': { severity: 'info', title: named('was requested') },
  'certificate.issued': { severity: 'info', title: named('was issued') },
  'certificate.renewed': { severity: 'info', title: named('was renewed') },
  'certificate.revoked': { severity: 'warning', title: named('was revoked') },
  'certificate.renewal-failed': { severity: 'warning', title: named('could not be renewed; it is tried again') },
  'certificate.renewal-stalled': { severity: 'critical', title: named('could not be renewed and waits for you') },
  'certificate.expiring': { severity: 'warning', title: ({ name, days }) => `${String(name)} expires in ${String(days)} days` },
  'certificate.expiring-soon': {
    severity: 'critical',
    title: ({ name, days }) => `${String(name)} expires in ${String(days)} days`,
  },
  'certificate.expired': { severity: 'critical', title: named('has expired') },
  'certificate.deployed': { severity: 'info', title: ({ name, target }) => `${String(name)} was deployed to ${String(target)}` },
  'certificate.deploy-failed': {
    severity: 'critical',
    title: ({ name, target }) => `${String(name)} could not be deployed to ${String(target)}`,
  },
  'backup.succeeded': { severity: 'info', title: ({ bundle }) => `backup ${String(bundle)} was taken and opened` },
  'backup.failed': { severity: 'critical', title: () => 'the backup failed' },
  'backup.overdue': { severity: 'critical', title: ({ planned }) => `no backup followed the one planned for ${String(planned)}` },
  'backup.partial': { severity: 'critical', title: ({ target }) => `the backup did not get to target ${String(target)}` },
  'backup.retention-failed': { severity: 'warning', title: () => 'old backups could not be removed, or should not be' },
  'backup.recipients-changed': { severity: 'warning', title: () => 'whom bundles are sealed to was changed' },
  'backup.verified': { severity: 'info', title: ({ bundle }) => `backup ${String(bundle)} was verified` },
  'backup.unverified': { severity: 'critical', title: ({ bundle }) => `backup ${String(bundle)} did not verify` },
  'drill.passed': { severity: 'info', title: () => 'the restore drill passed' },
  'drill.failed': { severity: 'critical', title: () => 'the restore drill failed' },
  'drill.overdue': { severity: 'warning', title: ({ last_passed }) => `no restore drill has passed since ${String(last_passed)}` },
  'safe-mode.released': { severity: 'warning', title: () => 'safe mode was released' },
}

/** What a channel is told of an entry; undefined for what concerns nobody. */
export function messageOfEntry(entry: AuditEntry): Message | undefined {
  const event = events[entry.event]
  if (event === undefined) return undefined
  const details = Object.entries(entry.data).map(([name, value]) => `${name}: ${String(value)}`)
  return {
    event: entry.event,
    severity: event.severity,
    title: event.title(entry.data),
    text: [...details, `by: ${entry.actor.name}`, `at: ${entry.at.toISOString()}`].join('\n'),
    data: { ...entry.data, subject: entry.subject },
    at: entry.at,
    key: entry._id,
  }
}
