import { randomInt } from 'node:crypto'
import { connect } from 'node:net'
import { AppError, messageOf } from '../../core/app-error.ts'
import type { DnsAccess, DnsProvider, TxtRecord } from '../dns.ts'
import { rcodeOf, type TsigKey, tsigAlgorithms, updateMessage, verifyReply } from './message.ts'

const timeoutMs = 10_000

/** Dynamic updates (RFC 2136) over TCP, signed with TSIG (RFC 8945). @throws AppError `usage` a setting */
export function openRfc2136({ settings, secret }: DnsAccess): DnsProvider {
  const { server = '', port = '53', key_name: name = '', algorithm = 'hmac-sha256' } = settings
  if (server === '' || name === '')
    throw new AppError('usage', 'rfc2136 needs "server" and "key_name"', { hint: 'server is the primary of the zone' })
  if (!(algorithm in tsigAlgorithms))
    throw new AppError('usage', `"${algorithm}" is no TSIG algorithm: expected ${Object.keys(tsigAlgorithms).join(', ')}`)
  const key: TsigKey = { name, algorithm: algorithm as TsigKey['algorithm'], secret: Buffer.from(secret, 'base64') }
  const change = async (record: TxtRecord, isAdded: boolean, signal: AbortSignal) => {
    const { message, mac } = updateMessage({ ...record, isAdded }, key, { id: randomInt(65_536), now: new Date() })
    const reply = await exchange(server, Number(port), message, signal)
    refuse(record, server, rcodeOf(reply))
    verifyReply(reply, key, mac)
  }
  return {
    publish: (record, signal) => change(record, true, signal),
    withdraw: (record, signal) => change(record, false, signal),
  }
}

/** RFC 2136, 2.2 and RFC 8945, 3. */
const refusals: Record<number, [name: string, hint: string]> = {
  1: ['FORMERR', 'the server does not understand updates'],
  5: ['REFUSED', 'the server does not let this key update the zone: look at update-policy or allow-update'],
  6: ['YXDOMAIN', 'the name exists and must not'],
  8: ['NXRRSET', 'a record that must exist does not'],
  9: ['NOTAUTH', 'the server does not serve the zone, or does not know the key, or its clock is off'],
  10: ['NOTZONE', 'the name is not in the zone'],
}

function refuse({ zone, name }: TxtRecord, server: string, rcode: number): void {
  if (rcode === 0) return
  const [text, hint] = refusals[rcode] ?? [`code ${rcode}`, 'the log of the name server says more']
  throw new AppError('refused-by-dns', `"${server}" refuses to change "${name}" in zone "${zone}": ${text}`, { hint })
}

/** One message there and one back, each with its length before it (RFC 1035, 4.2.2). */
async function exchange(host: string, port: number, message: Buffer, signal: AbortSignal): Promise<Buffer> {
  const socket = connect({ host, port, signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) })
  try {
    const length = Buffer.alloc(2)
    length.writeUInt16BE(message.length)
    socket.write(Buffer.concat([length, message]))
    let received = Buffer.alloc(0)
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk as Buffer])
      if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0))
        return received.subarray(2, 2 + received.readUInt16BE(0))
    }
    throw new Error('the server closed the connection')
  } catch (error) {
    throw new AppError('unreachable', `cannot reach the name server "${host}" at port ${port}: ${messageOf(error)}`, {
      cause: error,
    })
  } finally {
    socket.destroy()
  }
}
