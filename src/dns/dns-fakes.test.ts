import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type TestContext, test } from 'node:test'
import { openOutbound } from '../outbound/guarded/outbound.ts'
import { openCloudflare } from './cloudflare/dns.ts'
import type { TxtRecord } from './dns.ts'
import { openRoute53 } from './route53/dns.ts'

const signal = new AbortController().signal
const record: TxtRecord = { zone: 'example.org', name: '_acme-challenge.www.example.org', value: 'first' }
const outbound = openOutbound(['127.0.0.1'])

async function start(
  t: TestContext,
  answer: (request: IncomingMessage, body: string, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer(async (request, response) => {
    answer(request, Buffer.concat((await Array.fromAsync(request)) as Buffer[]).toString(), response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close().closeAllConnections())
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`
}

/** Answers as Cloudflare does: checks the token, refuses unknown fields and identical records. */
async function startCloudflare(t: TestContext, token: string) {
  const records = new Map<string, { id: string; type: string; name: string; content: string; ttl: number }>()
  let next = 1
  const endpoint = await start(t, (request, body, response) => {
    const url = new URL(request.url ?? '', 'http://x')
    const reply = (status: number, result: unknown, error?: { code: number; message: string }) =>
      response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(JSON.stringify({ success: error === undefined, errors: error ? [error] : [], messages: [], result }))
    if (request.headers.authorization !== `Bearer ${token}`)
      return reply(403, null, { code: 9109, message: 'Invalid access token' })
    if (url.pathname === '/zones')
      return reply(200, url.searchParams.get('name') === 'example.org' ? [{ id: 'z1', name: 'example.org' }] : [])
    if (!url.pathname.startsWith('/zones/z1/dns_records')) return reply(404, null, { code: 7003, message: 'no route' })
    if (request.method === 'POST') {
      const given = JSON.parse(body) as Record<string, unknown>
      const unknown = Object.keys(given).find((key) => !['type', 'name', 'content', 'ttl'].includes(key))
      if (unknown !== undefined) return reply(400, null, { code: 9207, message: `unknown field ${unknown}` })
      const isThere = [...records.values()].some(({ name, content }) => name === given.name && content === given.content)
      if (isThere) return reply(400, null, { code: 81058, message: 'An identical record already exists.' })
      const made = { id: `r${next++}`, ...given } as never as {
        id: string
        type: string
        name: string
        content: string
        ttl: number
      }
      records.set(made.id, made)
      return reply(200, made)
    }
    if (request.method === 'DELETE') return reply(records.delete(url.pathname.split('/').at(-1) ?? '') ? 200 : 404, {})
    return reply(
      200,
      [...records.values()].filter(({ name }) => name === url.searchParams.get('name')),
    )
  })
  return { endpoint, records }
}

test('cloudflare: two values of one name are added and removed on their own, twice is no error', async (t) => {
  const { endpoint, records } = await startCloudflare(t, 'token')
  const dns = openCloudflare(outbound, { provider: 'cloudflare', settings: { endpoint }, secret: 'token' })
  await dns.publish(record, signal)
  await dns.publish({ ...record, value: 'second' }, signal)
  await dns.publish(record, signal)
  assert.deepEqual(
    [...records.values()].map(({ content }) => content),
    ['"first"', '"second"'],
  )
  await dns.withdraw(record, signal)
  await dns.withdraw(record, signal)
  assert.deepEqual(
    [...records.values()].map(({ content }) => content),
    ['"second"'],
  )
})

test('cloudflare: a wrong token and a zone that it does not see are refused by name, without the token', async (t) => {
  const { endpoint } = await startCloudflare(t, 'token')
  const wrong = openCloudflare(outbound, { provider: 'cloudflare', settings: { endpoint }, secret: 'another' })
  await assert.rejects(
    wrong.publish(record, signal),
    (error: Error) => /Invalid access token \(9109\)/.test(error.message) && !/another/.test(error.message),
  )
  const right = openCloudflare(outbound, { provider: 'cloudflare', settings: { endpoint }, secret: 'token' })
  await assert.rejects(right.publish({ ...record, zone: 'example.net' }, signal), { message: /sees no zone "example.net"/ })
})

/** AWS Signature Version 4 over a request, as the service computes it. */
function signatureOf(request: IncomingMessage, body: string, secret: string): string {
  const authorization = request.headers.authorization ?? ''
  const scope = authorization.match(/Credential=[^/]+\/([^,]+)/)?.[1] ?? ''
  const signed = authorization.match(/SignedHeaders=([^,]+)/)?.[1] ?? ''
  const url = new URL(request.url ?? '', 'http://x')
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join('&')
  const headers = signed
    .split(';')
    .map((name) => `${name}:${String(request.headers[name]).trim()}\n`)
    .join('')
  const hash = (text: string) => createHash('sha256').update(text).digest('hex')
  const canonical = [request.method, url.pathname, query, headers, signed, hash(body)].join('\n')
  const text = ['AWS4-HMAC-SHA256', request.headers['x-amz-date'], scope, hash(canonical)].join('\n')
  const key = scope
    .split('/')
    .reduce((chained: Buffer, part) => createHmac('sha256', chained).update(part).digest(), Buffer.from(`AWS4${secret}`))
  return createHmac('sha256', key).update(text).digest('hex')
}

async function startRoute53(t: TestContext, secret: string) {
  const state: { values: string[] } = { values: [] }
  const ns = 'xmlns="https://route53.amazonaws.com/doc/2013-04-01/"'
  const endpoint = await start(t, (request, body, response) => {
    const send = (status: number, xml: string) =>
      response.writeHead(status, { 'content-type': 'text/xml' }).end(`<?xml version="1.0"?>${xml}`)
    const signature = request.headers.authorization?.match(/Signature=(\w+)/)?.[1]
    if (signature !== signatureOf(request, body, secret))
      return send(
        403,
        `<ErrorResponse ${ns}><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>signature does not match</Message></Error></ErrorResponse>`,
      )
    if (request.url?.includes('hostedzonesbyname'))
      return send(
        200,
        `<ListHostedZonesByNameResponse ${ns}><HostedZones><HostedZone><Id>/hostedzone/Z1</Id><Name>example.org.</Name><CallerReference>c</CallerReference></HostedZone></HostedZones><IsTruncated>false</IsTruncated><MaxItems>1</MaxItems></ListHostedZonesByNameResponse>`,
      )
    if (request.method === 'GET') {
      const records = state.values.map((value) => `<ResourceRecord><Value>${value}</Value></ResourceRecord>`).join('')
      const set = `<ResourceRecordSet><Name>${record.name}.</Name><Type>TXT</Type><TTL>60</TTL><ResourceRecords>${records}</ResourceRecords></ResourceRecordSet>`
      return send(
        200,
        `<ListResourceRecordSetsResponse ${ns}><ResourceRecordSets>${state.values.length > 0 ? set : ''}</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>1</MaxItems></ListResourceRecordSetsResponse>`,
      )
    }
    const values = [...body.matchAll(/<Value>(.*?)<\/Value>/g)].map((match) => String(match[1]).replaceAll('&quot;', '"'))
    if (body.includes('<Action>DELETE</Action>') && values.join() !== state.values.join())
      return send(
        400,
        `<ErrorResponse ${ns}><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>values do not match</Message></Error></ErrorResponse>`,
      )
    state.values = body.includes('<Action>DELETE</Action>') ? [] : values
    return send(
      200,
      `<ChangeResourceRecordSetsResponse ${ns}><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>`,
    )
  })
  return { endpoint, state }
}

test('route53: signed requests merge values into the record set and take them out again', async (t) => {
  const { endpoint, state } = await startRoute53(t, 'secret key')
  const settings = { endpoint, access_key_id: 'AKIDEXAMPLE' }
  const dns = openRoute53(outbound, { provider: 'route53', settings, secret: 'secret key' })
  await dns.publish(record, signal)
  await dns.publish({ ...record, value: 'second' }, signal)
  await dns.publish(record, signal)
  assert.deepEqual(state.values.toSorted(), ['"first"', '"second"'])
  await dns.withdraw(record, signal)
  assert.deepEqual(state.values, ['"second"'])
  await dns.withdraw({ ...record, value: 'second' }, signal)
  await dns.withdraw({ ...record, value: 'second' }, signal)
  assert.deepEqual(state.values, [])
  const wrong = openRoute53(outbound, { provider: 'route53', settings, secret: 'another key' })
  await assert.rejects(wrong.publish(record, signal), { code: 'refused-by-dns', message: /signature does not match/ })
})

test('a provider at an address that is not public is not asked unless it is allowed', async (t) => {
  const { endpoint } = await startRoute53(t, 'secret key')
  const settings = { endpoint, access_key_id: 'AKIDEXAMPLE' }
  const dns = openRoute53(openOutbound([]), { provider: 'route53', settings, secret: 'secret key' })
  await assert.rejects(dns.publish(record, signal), { code: 'forbidden' })
})
