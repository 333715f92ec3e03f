import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openHost } from '../../src/host.ts'
import { serve } from '../../src/serve.ts'
import { findProgram, needs } from '../servers.ts'
import { newHost, ownerPassword, type TestHost } from '../test-host.ts'

let host: TestHost
let url = ''
const stopping = new AbortController()
let serving: Promise<void>
const quiet = { info() {}, warn() {}, error() {} }

before(async () => {
  host = await newHost()
  await host.ok('setup')
  const opened = openHost({ CERTAUTOPILOT_HOME: host.home, CERTAUTOPILOT_SERVER_PORT: '0' })
  url = await new Promise<string>((resolve, reject) => {
    serving = serve(opened, { log: quiet, profile: 'normal', onReady: (started) => resolve(started.url) }, stopping.signal)
    serving.catch(reject)
  })
})
after(async () => {
  stopping.abort()
  await serving
  await host[Symbol.asyncDispose]()
})

interface Answer extends Record<string, unknown> {
  items: Record<string, unknown>[]
}

/** A browser: keeps cookies, sends the CSRF token. */
class Browser {
  readonly cookies = new Map<string, string>()
  headers: Record<string, string> = {}

  async send(method: string, path: string, body?: unknown): Promise<{ status: number; json: Answer; headers: Headers }> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const csrf = this.cookies.get('cap_csrf')
    const headers = {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(cookie ? { cookie } : {}),
      ...(csrf ? { 'x-csrf-token': csrf } : {}),
      ...this.headers,
    }
    const response = await fetch(url + path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = line.match(/^([^=]+)=([^;]*)/) ?? []
      this.cookies.set(name, value)
    }
    const text = await response.text()
    return { status: response.status, json: (text.startsWith('{') ? JSON.parse(text) : {}) as Answer, headers: response.headers }
  }

  logIn(email: string, password: string) {
    return this.send('POST', '/api/v1/auth/login', { email, password })
  }
}

async function owner(): Promise<Browser> {
  const browser = new Browser()
  const login = await browser.logIn('owner@example.org', ownerPassword)
  assert.equal(login.status, 200)
  return browser
}

test('setup needs the token of the host, and of many tries at once exactly one wins', async () => {
  const browser = new Browser()
  const account = { email: 'owner@example.org', password: ownerPassword }
  assert.equal((await browser.send('POST', '/api/v1/setup', { ...account, token: 'guess' })).status, 401)
  const token = (await host.read(host.paths.setupToken)).trim()
  assert.equal((await browser.send('POST', '/api/v1/setup', { ...account, token, password: 'short' })).status, 400)
  const tries = await Promise.all(
    Array.from({ length: 6 }, (_, n) =>
      browser.send('POST', '/api/v1/setup', { ...account, email: n === 0 ? account.email : account.email, token }),
    ),
  )
  assert.deepEqual(tries.map((answer) => answer.status).sort(), [200, 409, 409, 409, 409, 409])
  await assert.rejects(host.read(host.paths.setupToken))
})

test('cookies are httpOnly and SameSite=Strict; a change without CSRF token is refused', async () => {
  const browser = new Browser()
  const login = await browser.logIn('owner@example.org', ownerPassword)
  const [access, refresh, csrf] = login.headers.getSetCookie()
  assert.match(access ?? '', /HttpOnly; SameSite=Strict/)
  assert.match(refresh ?? '', /Path=\/api\/v1\/auth; HttpOnly; SameSite=Strict/)
  assert.doesNotMatch(csrf ?? '', /HttpOnly/)
  browser.headers = { 'x-csrf-token': 'wrong' }
  const refused = await browser.send('POST', '/api/v1/projects', { name: 'p' })
  assert.equal(refused.status, 403)
  assert.equal(refused.json.title, 'csrf_validation_failed')
  browser.headers = {}
  assert.equal((await browser.send('POST', '/api/v1/projects', { name: 'default' })).status, 201)
})

test('a refresh token that is used twice ends the session', async () => {
  const browser = await owner()
  const stolen = browser.cookies.get('cap_refresh') as string
  assert.equal((await browser.send('POST', '/api/v1/auth/refresh')).status, 200)
  assert.equal((await browser.send('GET', '/api/v1/auth/me')).status, 200)
  const thief = new Browser()
  thief.cookies.set('cap_refresh', stolen)
  assert.equal((await thief.send('POST', '/api/v1/auth/refresh')).status, 401)
  assert.equal((await browser.send('GET', '/api/v1/auth/me')).status, 401)
})

test('logging out ends the session; nobody is anonymous', async () => {
  const browser = await owner()
  assert.equal((await browser.send('POST', '/api/v1/auth/logout')).status, 204)
  assert.equal((await browser.send('GET', '/api/v1/users')).status, 401)
  assert.equal((await new Browser().send('GET', '/api/v1/certificates')).status, 401)
})

test('five wrong passwords throttle that account from that address', async () => {
  const browser = new Browser()
  for (let n = 0; n < 5; n++) assert.equal((await browser.logIn('nobody@example.org', 'wrong password')).status, 401)
  const burst = await Promise.all(Array.from({ length: 10 }, () => browser.logIn('burst@example.org', 'wrong password')))
  assert.equal(burst.filter((answer) => answer.status === 401).length, 5)
  const throttled = await browser.logIn('nobody@example.org', 'wrong password')
  assert.equal(throttled.status, 429)
  assert.match(String(throttled.json.hint), /try again after/)
  assert.equal((await new Browser().logIn('owner@example.org', ownerPassword)).status, 200)
})

test('roles: a viewer reads, an operator issues, an admin adds users but no owner', async () => {
  const browser = await owner()
  for (const role of ['viewer', 'operator', 'admin']) {
    assert.equal(
      (await browser.send('POST', '/api/v1/users', { email: `${role}@example.org`, role, password: ownerPassword })).status,
      201,
    )
  }
  await browser.send('POST', '/api/v1/cas', { name: 'Internal' })
  const statusFor = async (email: string, path: string, body: object) => {
    const other = new Browser()
    await other.logIn(email, ownerPassword)
    return (await other.send('POST', path, body)).status
  }
  const issue = ['/api/v1/certificates', { project: 'default', names: ['r.example.org'] }] as const
  assert.equal(await statusFor('viewer@example.org', ...issue), 403)
  assert.equal(await statusFor('operator@example.org', ...issue), 201)
  const grant = (role: string) => ['/api/v1/users', { email: `x-${role}@example.org`, role, password: ownerPassword }] as const
  assert.equal(await statusFor('operator@example.org', ...grant('viewer')), 403)
  assert.equal(await statusFor('admin@example.org', ...grant('owner')), 403)
  assert.equal(await statusFor('admin@example.org', ...grant('admin')), 201)
  const viewer = new Browser()
  await viewer.logIn('viewer@example.org', ownerPassword)
  assert.equal(
    (await viewer.send('PUT', '/api/v1/users/x-admin@example.org/password', { password: 'taken over, by a viewer' })).status,
    403,
  )
  await browser.send('POST', '/api/v1/users', { email: 'viewer2@example.org', role: 'viewer', password: ownerPassword })
  assert.equal(
    (await viewer.send('PUT', '/api/v1/users/viewer2@example.org/password', { password: 'taken over, by a viewer' })).status,
    403,
  )
  assert.equal(
    (await viewer.send('PUT', '/api/v1/users/viewer@example.org/password', { password: 'my own new password' })).status,
    204,
  )
})

test('an API key works without cookies, is shown once, and stops when it is revoked', async () => {
  const browser = await owner()
  const made = await browser.send('POST', '/api/v1/api-keys', { name: 'ci', role: 'operator' })
  const key = String(made.json.key)
  assert.match(key, /^cap_[0-9a-z]{52}$/)
  const listed = await browser.send('GET', '/api/v1/api-keys')
  assert.ok(!JSON.stringify(listed.json).includes(key))
  const robot = new Browser()
  robot.headers = { authorization: `Bearer ${key}` }
  assert.equal((await robot.send('GET', '/api/v1/certificates')).status, 200)
  assert.equal((await robot.send('GET', '/api/v1/users')).status, 403)
  await browser.send('DELETE', `/api/v1/api-keys/${made.json._id}`)
  assert.equal((await robot.send('GET', '/api/v1/certificates')).status, 401)
})

test('the drill user cannot log in outside a drill', async () => {
  const password = (await host.read(host.paths.secrets)).match(/DRILL_PASSWORD=(.*)/)?.[1] as string
  assert.equal((await new Browser().logIn('drill@localhost', password)).status, 401)
})

test('bad requests name the field; secrets never leave', async () => {
  const browser = await owner()
  const bad = await browser.send('POST', '/api/v1/certificates', {
    project: 'default',
    names: ['ok.example.org'],
    validity_days: -1,
    nonsense: 1,
  })
  assert.equal(bad.status, 400)
  assert.match(String(bad.json.title), /body\.validity_days.*nonsense/s)
  for (const names of [['-bad'], ['a b'], ['x'.repeat(70)], []])
    assert.equal((await browser.send('POST', '/api/v1/certificates', { project: 'default', names })).status, 400)
  assert.equal((await browser.send('GET', '/api/v1/certificates?limit=501')).status, 400)
  assert.equal((await browser.send('GET', '/api/v1/nothing')).status, 404)
  for (const path of ['/api/v1/users', '/api/v1/cas', '/api/v1/certificates', '/api/v1/api-keys', '/api/v1/audit-logs']) {
    const answer = JSON.stringify((await browser.send('GET', path)).json)
    assert.doesNotMatch(answer, /password_hash|key_hash|encrypted_|wrapped_dek|argon2/)
  }
})

test('malformed PEM, PKCS#12 and CSR are refused by name, and nothing is stored', async () => {
  const browser = await owner()
  const before = await browser.send('GET', '/api/v1/certificates/count')
  const files = [
    { name: 'a.pem', pem: 'nonsense' },
    { name: 'b.pem', pem: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' },
    { name: 'c.p12', pkcs12: Buffer.from('nonsense').toString('base64') },
  ]
  for (const file of files) {
    const answer = await browser.send('POST', '/api/v1/certificates/import', { project: 'default', files: [file] })
    assert.equal(answer.status, 400)
    assert.match(String(answer.json.title), new RegExp(file.name))
  }
  assert.equal((await browser.send('POST', '/api/v1/certificates', { project: 'default', csr_pem: 'nonsense' })).status, 400)
  assert.deepEqual((await browser.send('GET', '/api/v1/certificates/count')).json, before.json)
})

test('PKCS#12 that we write opens in openssl, and what openssl writes is imported with its key', needs('OPENSSL'), async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-p12-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const openssl = (...words: string[]) =>
    execFileSync(findProgram('OPENSSL') as string, words, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] }).toString()
  const browser = await owner()
  const issued = await browser.send('POST', '/api/v1/certificates', {
    project: 'default',
    names: ['p12.example.org'],
    key_type: 'rsa-2048',
  })
  const id = String(issued.json._id)
  const response = await fetch(`${url}/api/v1/certificates/${id}/pkcs12`, {
    method: 'POST',
    body: JSON.stringify({ passphrase: 'a passphrase' }),
    headers: {
      'content-type': 'application/json',
      cookie: `cap_access=${browser.cookies.get('cap_access')}`,
      'x-csrf-token': browser.cookies.get('cap_csrf') as string,
    },
  })
  await writeFile(join(folder, 'ours.p12'), Buffer.from(await response.arrayBuffer()))
  const opened = openssl('pkcs12', '-in', 'ours.p12', '-passin', 'pass:a passphrase', '-nodes')
  const certificate = new X509Certificate(opened.match(/-----BEGIN CERT[\s\S]+?-----END CERTIFICATE-----/)?.[0] as string)
  assert.ok(
    certificate.checkPrivateKey(createPrivateKey(opened.match(/-----BEGIN PRIV[\s\S]+?-----END PRIVATE KEY-----/)?.[0] as string)),
  )
  assert.throws(() => openssl('pkcs12', '-in', 'ours.p12', '-passin', 'pass:wrong', '-nodes'))

  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'k.pem',
    '-out',
    'c.pem',
    '-subj',
    '/CN=imported.example.org',
    '-days',
    '5',
  )
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'k2.pem',
    '-out',
    'san.pem',
    '-subj',
    '/',
    '-addext',
    'subjectAltName=critical,DNS:only.san.example.org',
  )
  const nameless = await browser.send('POST', '/api/v1/certificates/import', {
    project: 'default',
    files: [{ name: 'san.pem', pem: await readFile(join(folder, 'san.pem'), 'utf8') }],
  })
  assert.deepEqual(
    (nameless.json.certificates as { name: string }[]).map((item) => item.name),
    ['only.san.example.org'],
  )
  openssl('pkcs12', '-export', '-in', 'c.pem', '-inkey', 'k.pem', '-out', 'theirs.p12', '-passout', 'pass:secret word')
  const pkcs12 = (await readFile(join(folder, 'theirs.p12'))).toString('base64')
  const send = (passphrase: string) =>
    browser.send('POST', '/api/v1/certificates/import', { project: 'default', files: [{ name: 'theirs.p12', pkcs12, passphrase }] })
  assert.equal((await send('wrong')).status, 400)
  const imported = await send('secret word')
  assert.equal(imported.json.imported, 1)
  const shown = await browser.send('GET', '/api/v1/certificates?search=imported.example.org')
  assert.equal(shown.json.items[0]?.has_key, true)
})

test(
  'a CSR of openssl is signed, its names kept, and its certificate cannot be renewed without the key',
  needs('OPENSSL'),
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'certautopilot-csr-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    execFileSync(
      findProgram('OPENSSL') as string,
      [
        'req',
        '-new',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        'k.pem',
        '-out',
        'r.pem',
        '-subj',
        '/CN=csr.example.org',
        '-addext',
        'subjectAltName=DNS:csr.example.org,DNS:alt.example.org,IP:10.1.2.3',
      ],
      { cwd: folder, stdio: 'pipe' },
    )
    const browser = await owner()
    const csr = await readFile(join(folder, 'r.pem'), 'utf8')
    const issued = await browser.send('POST', '/api/v1/certificates', { project: 'default', csr_pem: csr })
    assert.equal(issued.status, 201)
    assert.deepEqual(issued.json.sans, ['csr.example.org', 'alt.example.org', '10.1.2.3'])
    const pem = await browser.send('GET', `/api/v1/certificates/${issued.json._id}`)
    assert.ok(
      new X509Certificate(String(pem.json.certificate_pem)).checkPrivateKey(
        createPrivateKey(await readFile(join(folder, 'k.pem'))),
      ),
    )
    assert.equal((await browser.send('POST', `/api/v1/certificates/${issued.json._id}/renew`)).status, 409)
    const flipped = csr.replace(/\n([A-Za-z0-9+/])(.)/, (_match, a: string, b: string) => `\n${a}${b === 'A' ? 'B' : 'A'}`)
    assert.equal((await browser.send('POST', '/api/v1/certificates', { project: 'default', csr_pem: flipped })).status, 400)
  },
)

test('a revoked certificate stands in the CRL that its own extension names', needs('OPENSSL'), async () => {
  const browser = await owner()
  const issued = await browser.send('POST', '/api/v1/certificates', { project: 'default', names: ['revoke.example.org'] })
  const shown = await browser.send('GET', `/api/v1/certificates/${issued.json._id}`)
  const text = execFileSync(findProgram('OPENSSL') as string, ['x509', '-noout', '-text'], {
    input: String(shown.json.certificate_pem),
  }).toString()
  const crlUrl = text.match(/URI:(http\S+\.crl)/)?.[1] as string
  const serials = async () =>
    execFileSync(findProgram('OPENSSL') as string, ['crl', '-inform', 'DER', '-noout', '-text'], {
      input: Buffer.from(await (await fetch(crlUrl)).arrayBuffer()),
    })
      .toString()
      .toLowerCase()
  assert.ok(!(await serials()).includes(String(issued.json.serial)))
  assert.equal(
    (await browser.send('POST', `/api/v1/certificates/${issued.json._id}/revoke`, { reason: 'keyCompromise' })).status,
    200,
  )
  assert.ok((await serials()).includes(String(issued.json.serial)))
  const byName = Buffer.from(await (await fetch(`${url}/crl/Internal.crl`)).arrayBuffer())
  assert.ok(
    execFileSync(findProgram('OPENSSL') as string, ['crl', '-inform', 'DER', '-noout', '-text'], { input: byName })
      .toString()
      .toLowerCase()
      .includes(String(issued.json.serial)),
  )
  assert.equal((await browser.send('POST', `/api/v1/certificates/${issued.json._id}/revoke`, {})).status, 409)
  assert.equal((await browser.send('GET', '/api/v1/certificates?state=revoked')).json.items.length, 1)
})

test('the description of the API names every route, and readiness, health and metrics answer', async () => {
  const browser = new Browser()
  const document = (await browser.send('GET', '/api/v1/openapi.json')).json as unknown as {
    openapi: string
    paths: Record<string, Record<string, { requestBody?: unknown }>>
  }
  assert.equal(document.openapi, '3.1.0')
  const { allRoutes } = await import('../../src/http/routes.ts')
  for (const route of allRoutes.slice(0, -1))
    assert.ok(document.paths[route.path]?.[route.method.toLowerCase()], `${route.method} ${route.path}`)
  const text = JSON.stringify(document)
  assert.match(text, /"format":"date-time"/)
  assert.equal((await browser.send('GET', '/healthz')).json.status, 'ok')
  assert.equal((await browser.send('GET', '/readyz')).json.status, 'ready')
  const metrics = await (await fetch(`${url}/metrics`)).text()
  for (const name of [
    'cap_http_requests_total',
    'cap_certificates_total',
    'cap_jobs_queue_depth',
    'certautopilot_backup_last_success_timestamp_seconds',
    'certautopilot_drill_expected_interval_seconds',
  ]) {
    assert.match(metrics, new RegExp(`^${name}`, 'm'))
  }
})

test('a list is searched, filtered, sorted and paged', async () => {
  const browser = await owner()
  for (const name of ['zeta', 'alpha', 'mid'])
    await browser.send('POST', '/api/v1/certificates', {
      project: 'default',
      names: [`${name}.list.example.org`],
      validity_days: name === 'mid' ? 20 : 90,
    })
  const names = async (query: string) =>
    ((await browser.send('GET', `/api/v1/certificates?search=list.example.org&${query}`)).json.items as { name: string }[]).map(
      (item) => item.name.split('.')[0],
    )
  assert.deepEqual(await names('sort=name'), ['alpha', 'mid', 'zeta'])
  assert.deepEqual(await names('sort=name&direction=desc'), ['zeta', 'mid', 'alpha'])
  assert.equal((await names(''))[0], 'mid')
  assert.deepEqual(await names('state=expiring'), ['mid'])
  assert.deepEqual(await names('kind=watched'), [])
  const first = await browser.send('GET', '/api/v1/certificates?search=list.example.org&sort=name&limit=2')
  const second = await browser.send(
    'GET',
    `/api/v1/certificates?search=list.example.org&sort=name&limit=2&cursor=${first.json.next_cursor}`,
  )
  assert.deepEqual(
    second.json.items.map((item) => item.name),
    ['zeta.list.example.org'],
  )
  assert.equal(second.json.next_cursor, null)
})
