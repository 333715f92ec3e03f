import type { AuditHead } from '../audit/audit.ts'

/** What this host remembers of its database, outside the database. */
export interface AnchorRecord {
  installation_id: string
  epoch: number
  audit_seq: number
}

/** Keeps the record on the host. */
export interface Anchor {
  read(): Promise<AnchorRecord | undefined>
  write(record: AnchorRecord): Promise<void>
  /** Notes how far the audit chain has come, at most every few seconds. */
  note(head: AuditHead): Promise<void>
}

/**
 * Why a database cannot be the one that this host last saw: put back by hand, by `mongorestore` or a volume snapshot.
 * @returns undefined when it can
 */
export function whyForeign(anchor: AnchorRecord | undefined, database: AnchorRecord): string | undefined {
  if (anchor === undefined) return undefined
  if (anchor.installation_id !== database.installation_id) return 'the database belongs to another installation than before'
  if (database.epoch > anchor.epoch) return undefined
  if (database.epoch < anchor.epoch) return `the database is of epoch ${database.epoch}, this host has seen ${anchor.epoch}`
  if (database.audit_seq < anchor.audit_seq)
    return `the audit log ends at ${database.audit_seq}, this host has seen ${anchor.audit_seq}: the database is older than before`
  return undefined
}
