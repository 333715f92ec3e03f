import { type AuditEntry, systemActor } from '../audit/audit.ts'
import { newId } from '../core/ids.ts'
import { queuedJob } from '../jobs/job.ts'
import type { JobRun } from '../jobs/worker.ts'
import { type Change, findAll, type Store } from '../store/store.ts'
import { type NotifyParts, sendOver } from './channels.ts'
import type { Notification, NotificationChannel, NotificationCursor } from './collections.ts'
import { messageOfEntry } from './events.ts'
import { type Message, severities } from './notify.ts'

export const notifyJobKind = 'notify.send'
const entriesPerRun = 200

/**
 * Turns what was linked into the audit chain since the last time into messages, one job each. Cursor, messages and jobs are one
 * transaction, so nothing is told twice and nothing is left out.
 */
export async function fanOut(parts: NotifyParts): Promise<void> {
  while ((await fanOutSome(parts)) === entriesPerRun);
}

/** @returns how many entries */
async function fanOutSome({ store, clock }: NotifyParts): Promise<number> {
  const cursor = await store.get<NotificationCursor>('notification_cursor', 'cursor')
  const channels = await Array.fromAsync(findAll<NotificationChannel>(store, 'notification_channels'))
  const from = cursor?.seq ?? (await lastSeq(store))
  const { items } = await store.find<AuditEntry>('audit_logs', {
    where: { seq: { gt: from } },
    sort: { field: 'seq', direction: 'asc' },
    limit: entriesPerRun,
  })
  const seq = items.at(-1)?.seq ?? from
  if (cursor !== undefined && seq === cursor.seq) return 0
  const now = clock.now()
  const changes = items.flatMap((entry) => {
    const message = messageOfEntry(entry)
    return message === undefined
      ? []
      : channels.filter((channel) => wants(channel, message, entry)).flatMap((channel) => queued(channel, message, now))
  })
  await store.commit([moved(cursor, seq), ...changes])
  return items.length
}

/** A first run tells nothing of what was before it. */
async function lastSeq(store: Store): Promise<number> {
  return (await store.get<{ _id: string; seq: number }>('audit_head', 'head'))?.seq ?? 0
}

function wants(channel: NotificationChannel, message: Message, entry: AuditEntry): boolean {
  const isGrave = severities.indexOf(message.severity) >= severities.indexOf(channel.min_severity)
  const project = entry.data.project
  return isGrave && (channel.project_id === '' || project === channel.project_id)
}

function queued(channel: NotificationChannel, message: Message, now: Date): Change[] {
  const notification: Notification = { _id: newId(now.getTime()), channel_id: channel._id, message, created_at: now }
  const { change } = queuedJob(notifyJobKind, notification._id, systemActor, now)
  return [{ insert: 'notifications', document: notification }, change]
}

function moved(cursor: NotificationCursor | undefined, seq: number): Change {
  const document: NotificationCursor = { _id: 'cursor', seq }
  if (cursor === undefined) return { insert: 'notification_cursor', document }
  return { replace: 'notification_cursor', document, expect: { seq: cursor.seq } }
}

/** The handler of `notify.send`. */
export async function sendNotification(parts: NotifyParts, run: JobRun): Promise<void> {
  const notification = await parts.store.get<Notification>('notifications', run.job.subject)
  if (notification === undefined) return
  const channel = await parts.store.get<NotificationChannel>('notification_channels', notification.channel_id)
  if (channel === undefined) return run.step('the channel is gone')
  await run.step(`telling "${channel.name}": ${notification.message.title}`)
  await sendOver(parts, channel, notification.message, run.signal)
}
