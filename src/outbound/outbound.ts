/** A request to a URL that a setting, a CA or a certificate names. */
export interface OutboundRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'DELETE'
  url: string
  headers?: Record<string, string>
  body?: string | Buffer
  /** PEM of CAs that are trusted instead of the public ones. */
  trustAnchors?: string | undefined
  /** The most that is read of a reply; 1 MiB if not given. */
  maxBytes?: number
}

export interface OutboundReply {
  status: number
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>
  body: Buffer
}

/**
 * The one way out to URLs that come from elsewhere. Loopback, link-local, private and metadata addresses are refused unless the operator
 * allows them, also behind a name and behind a redirect; size and time are bounded.
 */
export interface Outbound {
  /** Redirects of GET and HEAD are followed, others are answers. @throws AppError `forbidden` an address that is not allowed · `unreachable` · `usage` no URL */
  request(request: OutboundRequest, signal: AbortSignal): Promise<OutboundReply>
}
