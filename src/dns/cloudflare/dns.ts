import { AppError } from '../../core/app-error.ts'
import type { Outbound } from '../../outbound/outbound.ts'
import type { DnsAccess, DnsProvider, TxtRecord } from '../dns.ts'

interface CloudflareReply<T> {
  success: boolean
  errors?: { code: number; message: string }[]
  result: T
}

const defaultEndpoint = 'https://api.cloudflare.com/client/v4'
const ttlSeconds = 60
/** An identical record exists. */
const existsCode = 81058

/**
 * Zones at Cloudflare, with an API token that may read zones and edit their DNS. Four requests of its API (version 4); the official library
 * is 120 MB. Setting: `endpoint`.
 */
export function openCloudflare(outbound: Outbound, { settings, secret }: DnsAccess): DnsProvider {
  const endpoint = settings.endpoint ?? defaultEndpoint
  const ask = async <T>(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    signal: AbortSignal,
    body?: object,
  ): Promise<CloudflareReply<T>> => {
    const headers = { authorization: `Bearer ${secret}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
    const content = body === undefined ? {} : { body: JSON.stringify(body) }
    const reply = await outbound.request({ method, url: `${endpoint}${path}`, headers, ...content }, signal)
    return parsed<T>(reply.status, reply.body)
  }
  const zoneId = async (zone: string, signal: AbortSignal): Promise<string> => {
    const { result } = succeeded(await ask<{ id: string }[]>('GET', `/zones?name=${encodeURIComponent(zone)}`, signal), zone)
    if (result[0] !== undefined) return result[0].id
    throw new AppError('refused-by-dns', `the token sees no zone "${zone}" at Cloudflare`, {
      hint: 'give it the permissions Zone:Read and DNS:Edit for this zone',
    })
  }
  return {
    async publish({ zone, name, value }, signal) {
      const record = { type: 'TXT', name, content: quoted(value), ttl: ttlSeconds }
      const reply = await ask('POST', `/zones/${await zoneId(zone, signal)}/dns_records`, signal, record)
      if (!reply.errors?.some(({ code }) => code === existsCode)) succeeded(reply, zone)
    },
    async withdraw({ zone, name, value }: TxtRecord, signal) {
      const records = `/zones/${await zoneId(zone, signal)}/dns_records`
      const query = `?type=TXT&name=${encodeURIComponent(name)}`
      const { result } = succeeded(await ask<{ id: string; content: string }[]>('GET', records + query, signal), zone)
      for (const { id } of result.filter(({ content }) => content === value || content === quoted(value)))
        succeeded(await ask('DELETE', `${records}/${id}`, signal), zone)
    },
  }
}

function quoted(value: string): string {
  return `"${value}"`
}

function succeeded<T>(reply: CloudflareReply<T>, zone: string): CloudflareReply<T> {
  if (reply.success) return reply
  const text = reply.errors?.map(({ code, message }) => `${message} (${code})`).join('; ')
  throw new AppError('refused-by-dns', `Cloudflare refuses to touch zone "${zone}": ${text || 'without a reason'}`, {
    hint: 'does the token hold, and has it the permissions Zone:Read and DNS:Edit?',
  })
}

function parsed<T>(status: number, body: Buffer): CloudflareReply<T> {
  try {
    return JSON.parse(body.toString()) as CloudflareReply<T>
  } catch (error) {
    throw new AppError('unreachable', `Cloudflare answers ${status} with something that is not JSON`, { cause: error })
  }
}
