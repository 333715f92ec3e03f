import { kekVersionIndex } from '../kek/collections.ts'
import type { Envelope } from '../kek/envelope.ts'
import type { CollectionSpec, StoredDocument } from '../store/store.ts'
import type { ChannelKind, Message, Severity } from './notify.ts'

export interface NotificationChannel extends StoredDocument {
  name: string
  kind: ChannelKind
  /** To look at: everything but secrets, of which a URL's path is one. */
  settings: Record<string, string>
  /** All settings and the secret. */
  encrypted_config: Envelope
  kek_version: number
  /** Only what is at least this grave. */
  min_severity: Severity
  /** Only events of this project; of all if empty. */
  project_id: string
  last_sent_at: Date | null
  last_error: string
  created_at: Date
}

/** One message for one channel. Its job sends it. */
export interface Notification extends StoredDocument {
  channel_id: string
  message: Message
  created_at: Date
}

/** How far the audit log has been turned into notifications; `_id` is `cursor`. */
export interface NotificationCursor extends StoredDocument {
  seq: number
}

export const notifyCollections: CollectionSpec[] = [
  {
    name: 'notification_channels',
    indexes: [{ name: 'name', key: { name: 1 }, unique: true }, kekVersionIndex],
    envelopes: ['encrypted_config'],
  },
  {
    name: 'notifications',
    indexes: [
      { name: 'channel', key: { channel_id: 1, _id: 1 } },
      { name: 'age', key: { created_at: 1 }, expireAfterSeconds: 30 * 24 * 3600 },
    ],
  },
  { name: 'notification_cursor', indexes: [] },
]
