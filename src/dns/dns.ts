export const dnsProviders = ['rfc2136', 'cloudflare', 'route53'] as const
export type DnsProviderName = (typeof dnsProviders)[number]

/** A TXT record that is published for a while. Names have no dot at the end. */
export interface TxtRecord {
  zone: string
  name: string
  value: string
}

/** Changes a zone. Other records of the same name stay as they are. */
export interface DnsProvider {
  /** Adds a value; adding it twice is no error. @throws AppError `refused-by-dns` · `unreachable` · `forbidden` */
  publish(record: TxtRecord, signal: AbortSignal): Promise<void>
  /** Removes a value; it being gone is no error. @throws as `publish` */
  withdraw(record: TxtRecord, signal: AbortSignal): Promise<void>
}

/** Looks at the DNS as the world sees it. */
export interface DnsLookup {
  /** Where a name leads when it is an alias; itself otherwise. */
  canonicalName(name: string): Promise<string>
  /** The zone a name lies in: the closest name above that has a start of authority. @throws AppError `refused-by-dns` */
  zoneOf(name: string): Promise<string>
  /** The TXT values of a name at each of the zone's own servers. @throws AppError `refused-by-dns` */
  valuesAtServers(zone: string, name: string): Promise<{ server: string; values: string[] }[]>
}

/** How a provider is reached; the secret comes out of its envelope. */
export interface DnsAccess {
  provider: DnsProviderName
  settings: Readonly<Record<string, string>>
  secret: string
}
