import {
  ChangeResourceRecordSetsCommand,
  ListHostedZonesByNameCommand,
  ListResourceRecordSetsCommand,
  Route53Client,
} from '@aws-sdk/client-route-53'
import { AppError, messageOf } from '../../core/app-error.ts'
import type { Outbound } from '../../outbound/outbound.ts'
import type { DnsAccess, DnsProvider, TxtRecord } from '../dns.ts'
import { handlerOver } from './request-handler.ts'

const ttlSeconds = 60

/**
 * Zones at Amazon Route 53, through the official library over our own way out. Settings: `access_key_id`, and `zone_id`, `region`, `endpoint`
 * where they are not the usual ones; the secret is the secret access key. @throws AppError `usage`
 */
export function openRoute53(outbound: Outbound, { settings, secret }: DnsAccess): DnsProvider {
  const { access_key_id: accessKeyId = '', zone_id, region = 'us-east-1', endpoint } = settings
  if (accessKeyId === '') throw new AppError('usage', 'route53 needs "access_key_id"')
  const client = new Route53Client({
    region,
    credentials: { accessKeyId, secretAccessKey: secret },
    requestHandler: handlerOver(outbound),
    ...(endpoint === undefined ? {} : { endpoint }),
  })
  const zoneId = async (zone: string, signal: AbortSignal): Promise<string> => {
    if (zone_id !== undefined) return zone_id
    const { HostedZones = [] } = await client.send(new ListHostedZonesByNameCommand({ DNSName: zone, MaxItems: 1 }), {
      abortSignal: signal,
    })
    const found = HostedZones.find(({ Name }) => Name === `${zone}.`)
    if (found?.Id === undefined) throw new AppError('refused-by-dns', `this key sees no hosted zone "${zone}" at Route 53`)
    return found.Id.replace('/hostedzone/', '')
  }
  /** All values of a name are one record set, which is replaced as a whole. */
  const change = async ({ zone, name, value }: TxtRecord, isAdded: boolean, signal: AbortSignal): Promise<void> => {
    const HostedZoneId = await zoneId(zone, signal)
    const options = { abortSignal: signal }
    const start = { HostedZoneId, StartRecordName: name, StartRecordType: 'TXT', MaxItems: 1 } as const
    const { ResourceRecordSets: sets = [] } = await client.send(new ListResourceRecordSetsCommand(start), options)
    const before = sets.find((set) => set.Name === `${name}.` && set.Type === 'TXT')
    const present = (before?.ResourceRecords ?? []).map((record) => String(record.Value))
    const others = present.filter((candidate) => candidate !== `"${value}"`)
    if (!isAdded && others.length === present.length) return
    const wanted = isAdded ? [...others, `"${value}"`] : others
    const isGone = wanted.length === 0
    const values = (isGone ? present : wanted).map((Value) => ({ Value }))
    const ResourceRecordSet = { Name: name, Type: 'TXT', TTL: isGone ? before?.TTL : ttlSeconds, ResourceRecords: values } as const
    const Changes = [{ Action: isGone ? 'DELETE' : 'UPSERT', ResourceRecordSet }] as const
    await client.send(new ChangeResourceRecordSetsCommand({ HostedZoneId, ChangeBatch: { Changes: [...Changes] } }), options)
  }
  const translated = (record: TxtRecord, isAdded: boolean, signal: AbortSignal) =>
    change(record, isAdded, signal).catch((error) => {
      throw error instanceof AppError ? error : refusal(error, record.zone)
    })
  return {
    publish: (record, signal) => translated(record, true, signal),
    withdraw: (record, signal) => translated(record, false, signal),
  }
}

function refusal(error: unknown, zone: string): AppError {
  return new AppError('refused-by-dns', `Route 53 refuses to touch zone "${zone}": ${messageOf(error)}`, {
    hint: 'the key needs route53:ListHostedZonesByName, ListResourceRecordSets and ChangeResourceRecordSets',
    cause: error,
  })
}
