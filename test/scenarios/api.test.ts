import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { freePort } from '../acme-servers.ts'
import { newHost, type TestHost } from '../test-host.ts'

type Json = Record<string, unknown>
interface Schema extends Json {
  type?: string
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  enum?: unknown[]
  anyOf?: Schema[]
  additionalProperties?: Schema | boolean
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
}
interface Operation {
  method: string
  path: string
  role: 'public' | 'viewer' | 'operator' | 'admin' | 'owner'
  parameters: { name: string; in: string; schema: Schema }[]
  body: Schema | undefined
  example: unknown
  responses: Record<string, unknown>
}

const roles = ['viewer', 'operator', 'admin'] as const
const rank = ['public', 'viewer', 'operator', 'admin', 'owner']
const keys: Record<string, string> = {}
let host: TestHost
let url = ''
let operations: Operation[] = []

before(async () => {
  const port = await freePort()
  host = await newHost({ CERTAUTOPILOT_SERVER_PORT: String(port) })
  url = `http://127.0.0.1:${port}`
  const api = await host.furnish(1)
  for (const role of roles) {
    const made = JSON.parse(await api.request('POST', '/api/v1/api-keys', { name: role, role })) as { key: string }
    keys[role] = made.key
  }
  operations = operationsOf((await (await fetch(`${url}/api/v1/openapi.json`)).json()) as Json)
})
after(() => host[Symbol.asyncDispose]())

function operationsOf(document: Json): Operation[] {
  const paths = document.paths as Record<string, Record<string, Json>>
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const body = operation.requestBody as { content: Record<string, { schema: Schema; example: unknown }> } | undefined
      return {
        method: method.toUpperCase(),
        path,
        role: (String(operation.description ?? '').match(/Needs the role (\w+)/)?.[1] ?? 'public') as Operation['role'],
        parameters: (operation.parameters ?? []) as Operation['parameters'],
        body: body?.content['application/json']?.schema,
        example: body?.content['application/json']?.example,
        responses: operation.responses as Record<string, unknown>,
      }
    }),
  )
}

/** Values that a schema describes, and now and then ones that it does not. */
function valuesOf(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 8, arbitrary: fittingValuesOf(schema) }, { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) })
}

function fittingValuesOf(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.enum) return fc.constantFrom(...schema.enum)
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(fittingValuesOf))
  switch (schema.type) {
    case 'object': {
      if (!schema.properties) return fc.dictionary(fc.string({ maxLength: 10 }), fc.string({ maxLength: 20 }), { maxKeys: 3 })
      const members = Object.fromEntries(Object.entries(schema.properties).map(([name, member]) => [name, valuesOf(member)]))
      return fc.record(members, { requiredKeys: schema.required ?? [] })
    }
    case 'array':
      return fc.array(valuesOf(schema.items ?? {}), { maxLength: 3 })
    case 'string':
      return fc.oneof(
        fc.string({ minLength: schema.minLength ?? 0, maxLength: Math.min(schema.maxLength ?? 30, 30), unit: 'binary' }),
        fc.constantFrom('default', 'a.example.org', '../../etc/passwd', "'; --", '{"$gt":""}', '\u0000', 'https://127.0.0.1/x'),
      )
    case 'integer':
    case 'number':
      return fc.oneof(fc.integer({ min: schema.minimum ?? -10, max: Math.min(schema.maximum ?? 1000, 100_000) }), fc.double())
    case 'boolean':
      return fc.boolean()
    default:
      return fc.jsonValue({ maxDepth: 2 })
  }
}

async function send(operation: Operation, role: string, input: { parameters: unknown[]; body: unknown }): Promise<Response> {
  let path = operation.path
  const query = new URLSearchParams()
  const headers: Record<string, string> = { authorization: `Bearer ${keys[role]}` }
  for (const [index, { name, in: place }] of operation.parameters.entries()) {
    const value = input.parameters[index]
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    if (place === 'path') path = path.replace(`{${name}}`, () => encodeURIComponent(text.slice(0, 60).toWellFormed()) || 'x')
    else if (place === 'query' && value !== undefined) query.set(name, text)
  }
  const body = operation.body === undefined ? null : JSON.stringify(input.body ?? {})
  if (body !== null) headers['content-type'] = 'application/json'
  return fetch(`${url}${path}?${query}`, {
    method: operation.method,
    headers,
    body,
    redirect: 'manual',
    signal: AbortSignal.timeout(30_000),
  })
}

/** What others are to blame for. */
const blamedOnOthers = new Set(['unreachable', 'refused-by-ca', 'refused-by-dns', 'refused-by-channel', 'deploy-failed'])

test('the whole API, driven from its own description: nothing breaks, nothing is undocumented, no role above its own', async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  for (const operation of operations) {
    const what = `${operation.method} ${operation.path} (seed ${seed})`
    const input = fc.record({
      parameters: fc.tuple(...operation.parameters.map(({ schema }) => valuesOf(schema))),
      body: operation.body === undefined ? fc.constant(undefined) : valuesOf(operation.body),
    })
    const check = fc.asyncProperty(fc.constantFrom(...roles), input, async (role, given) => {
      const response = await send(operation, role, given as never)
      const text = await response.text()
      const told = `${what} as ${role}: ${response.status} ${text.slice(0, 300)}`
      const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json') ?? false
      if (response.status >= 400) {
        const problem = JSON.parse(text) as { status: number; code: string; title: string }
        assert.ok(isProblem && problem.status === response.status && problem.title !== '', told)
        assert.ok(response.status < 500 || blamedOnOthers.has(problem.code), told)
      } else assert.ok(String(response.status) in operation.responses, told)
      if (rank.indexOf(role) < rank.indexOf(operation.role)) assert.ok(response.status === 403 || response.status === 400, told)
    })
    await fc.assert(check, { seed, numRuns: 12 })
  }
  assert.equal((await fetch(`${url}/readyz`)).status, 200)
})

test('a creation that is repeated under its key makes one thing; another request under the key is refused', async () => {
  const create = (name: string, key: string) =>
    fetch(`${url}/api/v1/projects`, {
      method: 'POST',
      headers: { authorization: `Bearer ${keys.admin}`, 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ name }),
    })
  const first = (await (await create('once', 'k1')).json()) as { _id: string }
  const again = await create('once', 'k1')
  assert.equal(again.status, 201)
  assert.equal(((await again.json()) as { _id: string })._id, first._id)
  assert.equal((await create('other', 'k1')).status, 400)
  assert.equal((await create('once', 'k2')).status, 409)
  const many = await Promise.all(Array.from({ length: 8 }, () => create('many', 'k3')))
  assert.ok(many.every(({ status }) => status === 201 || status === 409))
  assert.equal(many.filter(({ status }) => status === 201).length >= 1, true)
})

test('a change that was thought out for another state is refused with 412; what is known is not sent again', async () => {
  const headers = { authorization: `Bearer ${keys.admin}` }
  const { items } = (await (await fetch(`${url}/api/v1/certificates?kind=managed`, { headers })).json()) as {
    items: { _id: string }[]
  }
  const path = `${url}/api/v1/certificates/${items[0]?._id}`
  const seen = await fetch(path, { headers })
  const tag = seen.headers.get('etag') as string
  assert.equal((await fetch(path, { headers: { ...headers, 'if-none-match': tag } })).status, 304)
  const stale = await fetch(`${path}/revoke`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', 'if-match': '"another"' },
    body: '{}',
  })
  assert.equal(stale.status, 412)
  const renewed = await fetch(`${path}/renew`, { method: 'POST', headers: { ...headers, 'if-match': tag } })
  assert.equal(renewed.status, 200)
})

test('JWT algorithm confusion, mass assignment, open redirect, and a throttled login that says for how long', async () => {
  const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  for (const alg of ['none', 'HS256', 'RS256']) {
    const token = `${base64({ alg, typ: 'JWT' })}.${base64({ sub: 'owner', role: 'owner' })}.`
    const answers = await Promise.all([
      fetch(`${url}/api/v1/users`, { headers: { cookie: `cap_access=${token}` } }),
      fetch(`${url}/api/v1/users`, { headers: { authorization: `Bearer ${token}` } }),
    ])
    assert.deepEqual(
      answers.map(({ status }) => status),
      [401, 401],
      alg,
    )
  }
  const assigned = await fetch(`${url}/api/v1/users`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keys.admin}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      email: 'x@example.org',
      password: 'long enough password',
      role: 'viewer',
      is_drill: true,
      password_hash: 'x',
    }),
  })
  assert.equal(assigned.status, 400)
  for (const path of [
    '//evil.example',
    '/\\evil.example',
    '/?next=//evil.example',
    '/api/v1/auth/me?redirect=https://evil.example',
  ])
    assert.equal((await fetch(url + path, { redirect: 'manual' })).headers.get('location'), null, path)
  let last: Response | undefined
  for (let tries = 0; tries < 7; tries++)
    last = await fetch(`${url}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email: 'owner@example.org', password: `wrong ${tries}` }),
    })
  assert.equal(last?.status, 429)
  assert.ok(Number(last?.headers.get('retry-after')) > 60)
})

test('a key of one project sees nothing of another, whatever it asks', async () => {
  const admin = { authorization: `Bearer ${keys.admin}`, 'content-type': 'application/json' }
  const post = async (path: string, body: unknown, headers = admin) =>
    fetch(`${url}/api/v1${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  for (const name of ['shop', 'bank']) assert.equal((await post('/projects', { name })).status, 201)
  const made = async (project: string) =>
    (await (await post('/certificates', { project, ca: 'Internal', names: [`www.${project}.test`] })).json()) as {
      _id: string
      project_id: string
    }
  const [shop, bank] = [await made('shop'), await made('bank')]
  const { key } = (await (await post('/api-keys', { name: 'shop', role: 'admin', project: 'shop' })).json()) as { key: string }
  const scoped = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const get = (path: string) => fetch(`${url}/api/v1${path}`, { headers: scoped })

  const { items } = (await (await get('/certificates?search=test')).json()) as { items: { _id: string }[] }
  assert.deepEqual(
    items.map(({ _id }) => _id),
    [shop._id],
  )
  assert.equal(((await (await get('/certificates/count')).json()) as { count: number }).count, 1)
  assert.equal((await get(`/certificates?project=${bank.project_id}`)).status, 404)
  assert.equal((await get(`/certificates/${shop._id}`)).status, 200)
  const renewal = (await (await post(`/certificates/${bank._id}/renew`, {})).json()) as { _id: string }
  assert.equal((await get(`/jobs/${renewal._id}`)).status, 404)

  for (const operation of operations) {
    const isOpen = operation.role === 'public'
    const path = operation.path.replace(/\{\w+\}/g, bank._id)
    const body = operation.body === undefined ? {} : { body: JSON.stringify(operation.example ?? {}) }
    const headers = operation.body === undefined ? { authorization: scoped.authorization } : scoped
    const answer = await fetch(`${url}${path}`, { method: operation.method, headers, ...body })
    const text = await answer.text()
    const told = `${operation.method} ${path}: ${answer.status} ${text.slice(0, 200)}`
    if (!isOpen) assert.ok(!text.includes('www.bank.test'), told)
    if (!isOpen && operation.path.includes('{id}')) assert.ok([400, 403, 404].includes(answer.status), told)
  }
})

test('tags are found, kept by a renewal, and a valid certificate is not forgotten before it is revoked', async () => {
  const id = String(((await host.ok('cert', 'issue', 'tagged.test', '--ca', 'Internal', '--json')).json as { _id: string })._id)
  await host.ok('cert', 'tag', id, '--add', 'prod,edge')
  await host.ok('cert', 'tag', id, '--remove', 'edge')
  await host.ok('cert', 'renew', id)
  const found = async (...words: string[]) =>
    ((await host.ok('cert', 'list', ...words, '--json')).json.items as { _id: string }[]).map(({ _id }) => _id)
  assert.deepEqual(await found('--tag', 'prod'), [id])
  assert.deepEqual(await found('--tag', 'edge'), [])
  assert.deepEqual(await found('--search', 'tagged #prod'), [id])
  assert.deepEqual(await found('--search', 'tagged nothing'), [])
  assert.equal((await host.cli('cert', 'tag', id, '--add', 'Not a tag')).exitCode, 2)

  const refused = await host.cli('cert', 'remove', id)
  assert.equal(refused.exitCode, 1)
  assert.match(refused.stderr, /revoke it first/)
  await host.ok('cert', 'revoke', id)
  await host.ok('cert', 'remove', id)
  assert.equal((await host.cli('cert', 'show', id)).exitCode, 10)
  const keysLeft = await host.withStore((store) => store.count('certificate_private_keys', { certificate_id: id }))
  assert.equal(keysLeft, 0)
})

test('a preflight names what would go wrong, and asks nobody', async () => {
  const check = async (body: object) => {
    const answer = await fetch(`${url}/api/v1/certificates/preflight`, {
      method: 'POST',
      headers: { authorization: `Bearer ${keys.operator}`, 'content-type': 'application/json' },
      body: JSON.stringify({ project: 'default', ...body }),
    })
    assert.equal(answer.status, 200)
    const { checks } = (await answer.json()) as { checks: { state: string; text: string }[] }
    return checks.map(({ state, text }) => `${state}: ${text}`).join('\n')
  }
  assert.match(await check({ names: ['new.example.org'] }), /^ok: the name is well formed$/)
  assert.match(await check({ names: ['not a name'] }), /^failing: /)
  await host.ok('cert', 'issue', 'twice.example.org', '--ca', 'Internal')
  assert.match(await check({ names: ['twice.example.org'] }), /warning: there is one for these names already, valid until \d{4}/)
  assert.match(await check({ names: ['new.example.org'], acme: {} }), /failing: there is no ACME account/)
})
