import { createHmac } from 'node:crypto'
import { AppError } from '../../core/app-error.ts'
import { equalsInConstantTime } from '../../core/secret.ts'

/** Names of the algorithms (RFC 8945, 6) and of their hashes here. */
export const tsigAlgorithms = { 'hmac-sha256': 'sha256', 'hmac-sha384': 'sha384', 'hmac-sha512': 'sha512' } as const

export interface TsigKey {
  name: string
  algorithm: keyof typeof tsigAlgorithms
  secret: Buffer
}

const type = { soa: 6, txt: 16, tsig: 250 } as const
const dnsClass = { in: 1, none: 254, any: 255 } as const
const opcodeUpdate = 5 << 11
const ttlSeconds = 60
const fudgeSeconds = 300
const headerBytes = 12

/** An UPDATE (RFC 2136, 2) that adds or removes one TXT value, signed. The MAC is what the reply is signed over. */
export function updateMessage(
  record: { zone: string; name: string; value: string; isAdded: boolean },
  key: TsigKey,
  { id, now }: { id: number; now: Date },
): { message: Buffer; mac: Buffer } {
  const value = Buffer.from(record.value)
  const rdata = Buffer.concat([Buffer.of(value.length), value])
  const header = words(id, opcodeUpdate, 1, 0, 1, 0)
  const zone = Buffer.concat([wireName(record.zone), words(type.soa, dnsClass.in)])
  const rr = record.isAdded
    ? resource(record.name, type.txt, dnsClass.in, ttlSeconds, rdata)
    : resource(record.name, type.txt, dnsClass.none, 0, rdata)
  const plain = Buffer.concat([header, zone, rr])
  const signedAt = words48(Math.floor(now.getTime() / 1000))
  const mac = hmac(key, [plain, tsigVariables(key, signedAt, 0)])
  const tsig = Buffer.concat([wireName(key.algorithm), signedAt, words(fudgeSeconds, mac.length), mac, words(id, 0, 0)])
  const message = Buffer.concat([plain, resource(key.name, type.tsig, dnsClass.any, 0, tsig)])
  message.writeUInt16BE(1, 10)
  return { message, mac }
}

export function rcodeOf(reply: Buffer): number {
  if (reply.length < headerBytes) throw malformed()
  return reply.readUInt16BE(2) & 0xf
}

/** The reply must be signed with the same key, over our request's MAC (RFC 8945, 5.3.1). @throws AppError `refused-by-dns` */
export function verifyReply(reply: Buffer, key: TsigKey, requestMac: Buffer): void {
  const additional = reply.readUInt16BE(10)
  if (additional === 0) throw new AppError('refused-by-dns', 'the reply of the name server is not signed')
  let position = headerBytes
  for (let n = reply.readUInt16BE(4); n > 0; n--) position = skipName(reply, position) + 4
  const records = reply.readUInt16BE(6) + reply.readUInt16BE(8) + additional - 1
  for (let n = records; n > 0; n--) position = skipResource(reply, position)
  const unsigned = Buffer.from(reply.subarray(0, position))
  unsigned.writeUInt16BE(additional - 1, 10)
  const start = skipName(reply, position) + 10
  const afterAlgorithm = skipName(reply, start)
  const signedAt = reply.subarray(afterAlgorithm, afterAlgorithm + 6)
  const macSize = reply.readUInt16BE(afterAlgorithm + 8)
  const mac = reply.subarray(afterAlgorithm + 10, afterAlgorithm + 10 + macSize)
  const error = reply.readUInt16BE(afterAlgorithm + 10 + macSize + 2)
  const expected = hmac(key, [words(requestMac.length), requestMac, unsigned, tsigVariables(key, signedAt, error)])
  if (!equalsInConstantTime(mac.toString('hex'), expected.toString('hex')))
    throw new AppError('refused-by-dns', 'the reply of the name server is not signed with the key')
}

/** What is signed beside the message (RFC 8945, 4.3.3). */
function tsigVariables(key: TsigKey, signedAt: Buffer, error: number): Buffer {
  const ttl = words(0, 0)
  return Buffer.concat([
    wireName(key.name),
    words(dnsClass.any),
    ttl,
    wireName(key.algorithm),
    signedAt,
    words(fudgeSeconds, error, 0),
  ])
}

function hmac(key: TsigKey, parts: Buffer[]): Buffer {
  const mac = createHmac(tsigAlgorithms[key.algorithm], key.secret)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

function resource(name: string, rrType: number, rrClass: number, ttl: number, rdata: Buffer): Buffer {
  return Buffer.concat([wireName(name), words(rrType, rrClass, ttl >>> 16, ttl & 0xffff, rdata.length), rdata])
}

/** Labels with their lengths, lower case (RFC 1035, 3.1). @throws AppError `usage` */
function wireName(name: string): Buffer {
  const labels = name
    .toLowerCase()
    .replace(/\.$/, '')
    .split('.')
    .map((label) => Buffer.from(label))
  if (labels.some((label) => label.length === 0 || label.length > 63)) throw new AppError('usage', `"${name}" is not a DNS name`)
  return Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)])
}

function skipName(message: Buffer, start: number): number {
  for (let position = start; ; ) {
    const length = message[position]
    if (length === undefined) throw malformed()
    if (length === 0) return position + 1
    if (length >= 0xc0) return position + 2
    position += 1 + length
  }
}

function skipResource(message: Buffer, start: number): number {
  const fixed = skipName(message, start)
  if (fixed + 10 > message.length) throw malformed()
  return fixed + 10 + message.readUInt16BE(fixed + 8)
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  values.forEach((value, index) => void bytes.writeUInt16BE(value, index * 2))
  return bytes
}

function words48(value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUIntBE(value, 0, 6)
  return bytes
}

function malformed(): AppError {
  return new AppError('refused-by-dns', 'the reply of the name server is malformed')
}
