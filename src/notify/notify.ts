/** What a person is told. */
export interface Message {
  event: string
  severity: Severity
  title: string
  /** A few lines of plain text. */
  text: string
  /** What it is about, for programs. */
  data: Readonly<Record<string, unknown>>
  at: Date
  /** The same for every attempt to send this message, so that a receiver can tell a repetition. */
  key: string
}

export const severities = ['info', 'warning', 'critical'] as const
export type Severity = (typeof severities)[number]

/** A way to tell somebody. */
export interface Channel {
  /** Resolves when the other side has taken the message. @throws AppError `unreachable` · `refused-by-channel` · `forbidden` */
  send(message: Message, signal: AbortSignal): Promise<void>
}

export const channelKinds = ['smtp', 'webhook'] as const
export type ChannelKind = (typeof channelKinds)[number]

/** How a channel is reached; the secret comes out of its envelope and may be empty. */
export interface ChannelAccess {
  kind: ChannelKind
  settings: Readonly<Record<string, string>>
  secret: string
}
