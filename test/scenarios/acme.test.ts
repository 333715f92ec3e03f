import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { Resolver } from 'node:dns/promises'
import { after, before, describe, test } from 'node:test'
import { dayMs } from '../../src/core/clock.ts'
import { type Bind, type Pebble, type PebbleOptions, startBind, startPebble } from '../acme-servers.ts'
import { needs } from '../servers.ts'
import { newHost, type TestHost } from '../test-host.ts'

interface Certificate {
  _id: string
  state: string
  serial: string
  not_after: string
  next_renewal_at: string
  renewal_state: string
  renewal_error: string
  certificate_pem: string
}

describe('certificates from an ACME CA', needs('PEBBLE', 'NAMED'), () => {
  let bind: Bind
  before(async () => {
    bind = await startBind()
  })
  after(() => bind[Symbol.asyncDispose]())

  async function startAll(options: Partial<PebbleOptions> = {}, environment: Record<string, string> = {}) {
    const stack = new AsyncDisposableStack()
    const pebble = stack.use(await startPebble({ dnsPort: bind.port, ...options }))
    const host = stack.use(
      await newHost({
        CERTAUTOPILOT_OUTBOUND_ALLOW: '127.0.0.1',
        CERTAUTOPILOT_ACME_HTTP01_PORT: String(pebble.httpPort),
        CERTAUTOPILOT_ACME_RESOLVERS: `127.0.0.1:${bind.port}`,
        ...environment,
      }),
    )
    const api = await host.furnish(0)
    return {
      pebble,
      host,
      api,
      show: async (id: string) => JSON.parse(await api.request('GET', `/api/v1/certificates/${id}`)) as Certificate,
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    }
  }

  function createAccount(host: TestHost, pebble: Pebble, ...more: string[]) {
    return host.cli(
      'acme',
      'create',
      'own',
      '--ca',
      pebble.directoryUrl,
      '--trust-anchors',
      pebble.trustAnchors,
      '--agree',
      ...more,
    )
  }

  async function createCredential(host: TestHost): Promise<string> {
    const settings = ['server=127.0.0.1', `port=${bind.port}`, `key_name=${bind.keyName}`, `check_servers=127.0.0.1:${bind.port}`]
    const words = settings.flatMap((setting) => ['--set', setting])
    const run = await host.cliWith({ CERTAUTOPILOT_DNS_SECRET: bind.secret }, 'dns', 'create', 'zone', ...words, '--json')
    assert.equal(run.exitCode, 0, run.stderr + run.stdout)
    return String(run.json._id)
  }

  async function onlyCertificate(host: TestHost): Promise<Certificate> {
    const run = await host.ok('cert', 'list', '--json')
    const { items } = run.json as unknown as { items: Certificate[] }
    assert.equal(items.length, 1)
    return items[0] as Certificate
  }

  test('http-01: issue, renew as a replacement, change the account key, renew again, revoke', async () => {
    await using all = await startAll()
    const { host, pebble, api, show } = all
    const account = await createAccount(host, pebble)
    assert.equal(account.exitCode, 0, account.stderr)

    await host.ok('cert', 'issue', 'www.example.test', 'example.test', '--acme', 'own')
    const first = await show((await onlyCertificate(host))._id)
    assert.equal(first.state, 'active')
    const key = createPrivateKey(await api.request('GET', `/api/v1/certificates/${first._id}/download?format=key`))
    assert.ok(new X509Certificate(first.certificate_pem).checkPrivateKey(key))

    await host.ok('cert', 'renew', first._id)
    const second = await show(first._id)
    assert.notEqual(second.serial, first.serial)
    const accounts = (await host.ok('acme', 'list', '--json')).json as unknown as {
      accounts: { _id: string; orders: { used: number } }[]
    }
    assert.equal(accounts.accounts[0]?.orders.used, 2)

    await host.ok('acme', 'change-key', String(accounts.accounts[0]?._id))
    await host.ok('cert', 'renew', first._id)
    assert.equal(pebble.issued(), 3)

    await host.ok('cert', 'revoke', first._id, '--reason', 'superseded')
    assert.equal((await show(first._id)).state, 'revoked')
    assert.equal((await host.cli('acme', 'remove', String(accounts.accounts[0]?._id))).exitCode, 1)
  })

  test('dns-01: a wildcard and an alias are proven, and nothing stays in the zone', async () => {
    await using all = await startAll()
    const { host, pebble } = all
    await createAccount(host, pebble)
    const credential = await createCredential(host)
    const probe = await host.ok('dns', 'test', credential, 'deep.example.test', '--json')
    assert.equal(probe.json.zone, 'example.test')

    const dry = await host.ok('cert', 'issue', '*.example.test', '--acme', 'own', '--dns', 'zone', '--dry-run')
    assert.match(dry.stdout, /ok +DNS credential "zone" worked when it was tested/)
    assert.match(dry.stdout, /ok +"\*\.example\.test" lies in the zone "example\.test"/)
    const unprovable = await host.ok('cert', 'issue', '*.example.test', '--acme', 'own', '--dry-run')
    assert.match(unprovable.stdout, /failing +"\*\.example\.test" can only be proven by dns-01/)
    assert.equal(pebble.issued(), 0)
    await host.ok('cert', 'issue', '*.example.test', 'example.test', '--acme', 'own', '--dns', 'zone')
    await host.ok('cert', 'issue', 'www.alias.test', '--acme', 'own', '--dns', 'zone', '--key-type', 'rsa-2048')
    assert.equal(pebble.issued(), 2)
    const resolver = new Resolver()
    resolver.setServers([`127.0.0.1:${bind.port}`])
    for (const name of [
      '_acme-challenge.example.test',
      'www-alias.challenges.example.test',
      '_certautopilot-probe.deep.example.test',
    ])
      await assert.rejects(resolver.resolveTxt(name), { code: /ENODATA|ENOTFOUND/ }, name)
  })

  test('a wrong TSIG key is refused by name, and the probe is remembered', async () => {
    await using all = await startAll()
    const { host } = all
    const settings = ['--set', 'server=127.0.0.1', '--set', `port=${bind.port}`, '--set', `key_name=${bind.keyName}`]
    const wrong = { CERTAUTOPILOT_DNS_SECRET: Buffer.from('wrong').toString('base64') }
    const created = await host.cliWith(wrong, 'dns', 'create', 'bad', ...settings, '--json')
    const probe = await host.cli('dns', 'test', String(created.json._id), 'example.test')
    assert.equal(probe.exitCode, 1)
    assert.match(probe.stderr, /refuses to change "_certautopilot-probe.example.test" in zone "example.test": NOTAUTH/)
    assert.match((await host.ok('dns', 'list')).stdout, /NOTAUTH/)
  })

  test('strict mode, external account, profile, authorisations used again', async () => {
    const externalAccounts = { 'kid-1': Buffer.from('an external account key, 32 byte').toString('base64url') }
    await using all = await startAll({
      isStrict: true,
      hasProfiles: true,
      externalAccounts,
      environment: { PEBBLE_AUTHZREUSE: '100' },
    })
    const { host, pebble, show } = all
    const refused = await createAccount(host, pebble)
    assert.match(refused.stderr, /wants an external account/)
    const hmac = { CERTAUTOPILOT_EAB_HMAC_KEY: externalAccounts['kid-1'] }
    const words = ['--ca', pebble.directoryUrl, '--trust-anchors', pebble.trustAnchors, '--agree', '--eab-key-id', 'kid-1']
    const unknown = await host.cliWith(hmac, 'acme', 'create', 'own', ...words, '--profile', 'nosuch')
    assert.match(unknown.stderr, /does not offer the profile "nosuch"[\s\S]*it offers: .*shortlived/)
    const made = await host.cliWith(hmac, 'acme', 'create', 'own', ...words, '--profile', 'shortlived')
    assert.equal(made.exitCode, 0, made.stderr)

    await host.ok('cert', 'issue', 'a.example.test', '--acme', 'own')
    const { _id } = await onlyCertificate(host)
    const certificate = await show(_id)
    assert.ok(Date.parse(certificate.not_after) < Date.now() + 7 * dayMs)
    const again = await host.ok('cert', 'renew', _id)
    assert.doesNotMatch(again.stdout, /asking the CA to look/)
  })

  test('a CA that suggests an earlier renewal is followed', async () => {
    await using all = await startAll({}, { CERTAUTOPILOT_SCHEDULER_INTERVAL_SECONDS: '1' })
    const { host, pebble, show } = all
    await createAccount(host, pebble)
    await host.ok('cert', 'issue', 'ari.example.test', '--acme', 'own')
    const { _id } = await onlyCertificate(host)
    const before = await show(_id)
    await pebble.suggestRenewal(before.certificate_pem, { start: new Date(Date.now() - dayMs), end: new Date(Date.now() - 1000) })
    await host.stop()
    await host.withStore(async (store) => {
      const document = (await store.get<{ _id: string }>('certificates', _id)) as { _id: string }
      await store.commit([{ replace: 'certificates', document: { ...document, ari_check_at: new Date(0) } as never }])
    })
    await host.start()
    for (const deadline = Date.now() + 30_000; Date.now() < deadline; ) {
      if ((await show(_id)).serial !== before.serial) break
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    assert.notEqual((await show(_id)).serial, before.serial)
    assert.equal(pebble.issued(), 2)
  })

  test('what a CA refuses is quoted, shown at the certificate, and tried again', async () => {
    await using all = await startAll()
    const { host, pebble, api, show } = all
    await createAccount(host, pebble)
    await host.ok('cert', 'issue', 'blocked.test', '--acme', 'own', '--no-follow')
    const { _id } = await onlyCertificate(host)
    for (const deadline = Date.now() + 10_000; Date.now() < deadline && (await show(_id)).renewal_state === ''; )
      await new Promise((resolve) => setTimeout(resolve, 50))
    const shown = await show(_id)
    assert.deepEqual([shown.state, shown.renewal_state], ['requested', 'failing'])
    assert.match(shown.renewal_error, /blocked.test.*rejectedIdentifier/)
    const jobs = JSON.parse(await api.request('GET', `/api/v1/jobs?subject=${_id}`)) as { items: { state: string }[] }
    assert.equal(jobs.items[0]?.state, 'queued')
  })

  test('a service that is killed at any step issues one certificate, not two', async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
    await using all = await startAll({}, { CERTAUTOPILOT_WORKER_LEASE_SECONDS: '1' })
    const { host, pebble, api, show } = all
    await createAccount(host, pebble)
    await createCredential(host)
    for (let round = 0; round < 6; round++) {
      const requested = JSON.parse(
        await api.request('POST', '/api/v1/certificates', {
          project: 'default',
          names: [`kill-${round}.example.test`],
          acme: { account: 'own', ...(round % 2 ? { dns_credential: 'zone' } : {}) },
        }),
      ) as { _id: string; job_id: string }
      const steps = 2 + ((seed + round * 3) % 6)
      for (;;) {
        const job = JSON.parse(await api.request('GET', `/api/v1/jobs/${requested.job_id}`)) as { steps: unknown[]; state: string }
        if (job.steps.length >= steps || job.state === 'succeeded') break
      }
      await host.stop('SIGKILL')
      await host.start()
      for (const deadline = Date.now() + 30_000; ; ) {
        if ((await show(requested._id)).state === 'active') break
        assert.ok(
          Date.now() < deadline,
          `round ${round} (seed ${seed}): ${await api.request('GET', `/api/v1/jobs/${requested.job_id}`)}`,
        )
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      assert.equal(pebble.issued(), round + 1, `seed ${seed}`)
    }
  })
})
