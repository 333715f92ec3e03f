import { type Actor, audited } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import type { Clock } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { EnvelopePlace } from '../kek/envelope.ts'
import type { KekRegistry } from '../kek/registry.ts'
import { openAccess, sealAccess } from '../kek/sealed-settings.ts'
import type { Store } from '../store/store.ts'
import type { NotificationChannel } from './collections.ts'
import type { Channel, ChannelAccess, ChannelKind, Message, Severity } from './notify.ts'

export interface NotifyParts {
  store: Store
  kek: KekRegistry
  clock: Clock
  /** @throws AppError `usage` a setting */
  openChannel(access: ChannelAccess): Promise<Channel>
}

export interface ChannelInput {
  name: string
  kind: ChannelKind
  settings: Record<string, string>
  secret: Secret
  minSeverity: Severity
  projectId: string
}

/** @throws AppError `usage` a setting · `exists` */
export async function createChannel(parts: NotifyParts, actor: Actor, input: ChannelInput): Promise<NotificationChannel> {
  const access = { settings: input.settings, secret: input.secret.reveal() }
  await parts.openChannel({ kind: input.kind, ...access })
  const now = parts.clock.now()
  const id = newId(now.getTime())
  const { envelope, settings } = sealAccess(parts.kek, place(id), access)
  const channel: NotificationChannel = {
    _id: id,
    name: input.name,
    kind: input.kind,
    settings,
    encrypted_config: envelope,
    kek_version: parts.kek.activeVersion,
    min_severity: input.minSeverity,
    project_id: input.projectId,
    last_sent_at: null,
    last_error: '',
    created_at: now,
  }
  try {
    await parts.store.commit([
      { insert: 'notification_channels', document: channel },
      audited(actor, 'notification-channel.created', id, { name: input.name, kind: input.kind }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists')) throw new AppError('exists', `there is a channel "${input.name}" already`, { cause: error })
    throw error
  }
  return channel
}

/** @throws AppError `not-found` */
export async function requireChannel(store: Store, idOrName: string): Promise<NotificationChannel> {
  const byId = await store.get<NotificationChannel>('notification_channels', idOrName)
  const found = byId ?? (await store.find<NotificationChannel>('notification_channels', { where: { name: idOrName } })).items[0]
  if (found === undefined)
    throw new AppError('not-found', `there is no notification channel "${idOrName}"`, {
      hint: '"certautopilot notify list" shows them',
    })
  return found
}

export async function removeChannel(parts: NotifyParts, actor: Actor, id: string): Promise<void> {
  const channel = await requireChannel(parts.store, id)
  await parts.store.commit([
    { remove: 'notification_channels', id: channel._id },
    audited(actor, 'notification-channel.removed', channel._id, { name: channel.name }),
  ])
}

/** Sends one message and remembers at the channel how that went. @throws as `Channel.send` */
export async function sendOver(
  parts: NotifyParts,
  channel: NotificationChannel,
  message: Message,
  signal: AbortSignal,
): Promise<void> {
  const access = openAccess(parts.kek, place(channel._id), channel.encrypted_config)
  try {
    const opened = await parts.openChannel({ kind: channel.kind, ...access })
    await opened.send(message, signal)
    await remember(parts, channel, { last_sent_at: parts.clock.now(), last_error: '' })
  } catch (error) {
    await remember(parts, channel, { last_error: messageOf(error) })
    throw error
  }
}

/** A message that says that it is a test. @throws as `Channel.send` */
export async function testChannel(parts: NotifyParts, actor: Actor, id: string, signal: AbortSignal): Promise<void> {
  const channel = await requireChannel(parts.store, id)
  const at = parts.clock.now()
  const message: Message = {
    event: 'notify.test',
    severity: 'info',
    title: 'this is a test of CertAutopilot',
    text: `sent over "${channel.name}" by ${actor.name} at ${at.toISOString()}`,
    data: { channel: channel.name },
    at,
    key: newId(at.getTime()),
  }
  await sendOver(parts, channel, message, signal)
}

async function remember(parts: NotifyParts, channel: NotificationChannel, what: Partial<NotificationChannel>): Promise<void> {
  const document: NotificationChannel = { ...channel, ...what }
  await parts.store.commit([{ replace: 'notification_channels', document }]).catch((error) => {
    if (!isAppError(error, 'conflict')) throw error
  })
}

function place(recordId: string): EnvelopePlace {
  return { collection: 'notification_channels', recordId, field: 'encrypted_config' }
}
