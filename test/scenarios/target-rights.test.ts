import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { lifecycleRules, probeFindings, testTarget } from '../../src/backup/test-target.ts'
import { openAzureTarget } from '../../src/target/azure-blob/target.ts'
import { parseLocation } from '../../src/target/location.ts'
import { openS3Target } from '../../src/target/s3/target.ts'
import { inOrder } from '../../src/target/target.ts'
import { findProgram, needs } from '../servers.ts'
import { startAzurite, startMinio } from '../target-servers.ts'
import { newHost } from '../test-host.ts'

test(
  'azure-blob: without a key the identity of the platform is used, and said when there is none',
  needs('AZURITE', 'OPENSSL'),
  async (t) => {
    const tls = await certificateFor(t)
    await using azurite = await startAzurite('vault', tls)
    const asked: IncomingMessage[] = []
    const platform = await listen(t, (request, response) => {
      asked.push(request)
      const expires_on = String(Math.floor(Date.now() / 1000) + 3600)
      const reply = { access_token: identityToken(), expires_on, resource: 'https://storage.azure.com', token_type: 'Bearer' }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(reply))
    })
    const url = `azure-blob://${azurite.account}/vault?endpoint=${azurite.endpoint}`
    await using host = await newHost({ CERTAUTOPILOT_BACKUP_TARGETS: `blob=${url}`, NODE_EXTRA_CA_CERTS: tls.cert })
    await host.furnish(1)
    const identity = { IDENTITY_ENDPOINT: `${platform}/token`, IDENTITY_HEADER: 'secret-of-the-platform' }
    const made = await host.cliWith(identity, 'backup', 'create', '--json')
    assert.equal(made.exitCode, 0, made.stdout + made.stderr)
    assert.equal(asked[0]?.headers['x-identity-header'], 'secret-of-the-platform')
    assert.match(asked[0]?.url ?? '', /resource=https%3A%2F%2Fstorage\.azure\.com/)
    const listed = await host.cliWith(identity, 'backup', 'list', '--from', 'blob', '--json')
    assert.match(listed.stdout, new RegExp(String(made.json.bundle)))

    // An endpoint that gives nothing, so that no address of a cloud is tried from here.
    const nothing = await listen(t, (_request, response) => response.writeHead(400).end('{}'))
    const refused = await host.cliWith({ ...identity, IDENTITY_ENDPOINT: nothing }, 'backup', 'target', 'test', 'blob')
    assert.equal(refused.exitCode, 2, refused.stdout + refused.stderr)
    assert.match(refused.stderr, /neither ACCOUNT_KEY nor SAS_TOKEN, and the platform gives it no identity/)
  },
)

test('azure-blob: a test of a target says what its credential could do to what is locked, as it goes over the wire', async (t) => {
  const refuses = { locking: false, unlocking: false }
  const seen: string[] = []
  const endpoint = await listen(t, (request, response) => {
    const { method = '', url = '', headers } = request
    const isLocking = headers['x-ms-immutability-policy-mode'] === 'Unlocked'
    const isUnlocking = method === 'DELETE' && url.includes('comp=immutabilityPolicies')
    seen.push(`${method} ${isLocking ? 'locked' : ''}${isUnlocking ? 'unlock' : ''}`.trim())
    const isRefused = (isLocking && refuses.locking) || (isUnlocking && refuses.unlocking)
    const created = { 'x-ms-version-id': '2026-11-25T00:00:00.0000000Z' }
    request.resume().once('end', () => {
      if (isRefused) response.writeHead(403, { 'x-ms-error-code': 'AuthorizationPermissionMismatch' }).end()
      else response.writeHead(method === 'PUT' ? 201 : method === 'DELETE' && !isUnlocking ? 202 : 200, created).end()
    })
  })
  const location = parseLocation(`blob=azure-blob://acct/vault/prod?endpoint=${endpoint}/acct&lock_mode=governance`)
  const target = await openAzureTarget(location, (name) => (name === 'ACCOUNT_KEY' ? 'a2V5' : undefined))
  assert.deepEqual(await target.inspect?.(), { keepsVersions: true, canLock: true, canBypassLock: true })
  assert.deepEqual(seen, ['PUT locked', 'DELETE unlock', 'DELETE'])
  refuses.unlocking = true
  assert.deepEqual(await target.inspect?.(), { keepsVersions: true, canLock: true, canBypassLock: false })
  refuses.locking = true
  const inspection = await target.inspect?.()
  assert.deepEqual(inspection, { keepsVersions: true, canLock: 'forbidden', canBypassLock: undefined })
  const probe = { place: '', bundles: 0, canRemove: false, inspection, milliseconds: 0 }
  assert.match(probeFindings(probe, location.rules).join(), /this credential may not lock/)
  assert.deepEqual((lifecycleRules(location) as { rules: object[] }).rules.length, 1)
  assert.match(JSON.stringify(lifecycleRules(location)), /"prefixMatch":\["vault\/prod\/"\]/)
})

test('s3: encryption by the server, its key and the storage class go with every upload; a right that is missing is said', async (t) => {
  const seen: IncomingMessage[] = []
  const endpoint = await listen(t, (request, response) => {
    seen.push(request)
    request.resume().once('end', () => {
      const isLocking = request.headers['x-amz-object-lock-mode'] !== undefined
      if (isLocking) response.writeHead(403).end('<Error><Code>AccessDenied</Code><Message>no</Message></Error>')
      else
        response.writeHead(200, { etag: '"x"' }).end('<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>')
    })
  })
  const location = parseLocation(
    `s3://vault?endpoint=${endpoint}&sse=aws:kms&kms_key=key-1&storage_class=STANDARD_IA&lock_mode=governance`,
  )
  const secrets: Record<string, string> = { ACCESS_KEY_ID: 'id', SECRET_ACCESS_KEY: 'secret' }
  const target = openS3Target(location, (name) => secrets[name])
  await target.put('bundle', inOrder(Readable.from([Buffer.from('content')])))
  const { headers } = seen.find(({ method }) => method === 'PUT') as IncomingMessage
  const names = ['x-amz-server-side-encryption', 'x-amz-server-side-encryption-aws-kms-key-id', 'x-amz-storage-class']
  assert.deepEqual(
    names.map((name) => headers[name]),
    ['aws:kms', 'key-1', 'STANDARD_IA'],
  )
  assert.ok(headers['x-amz-checksum-sha256'] ?? headers['x-amz-trailer'], 'with a checksum')
  const inspection = await target.inspect?.()
  assert.equal(inspection?.canLock, 'forbidden', 'a refusal does not mean that nothing can be locked')
})

test(
  's3: what is larger than a part goes in several, each with a checksum that the server has compared',
  needs('MINIO'),
  async () => {
    await using minio = await startMinio()
    await minio.createBucket('vault')
    const secrets = minio.credentials as Record<string, string>
    const target = openS3Target(parseLocation(`s3://vault?endpoint=${minio.endpoint}`), (name) => secrets[name])
    const content = randomBytes(20_000_000)
    const chunks = Array.from({ length: 20 }, (_, index) => content.subarray(index * 1e6, (index + 1) * 1e6))
    await target.put('bundle', inOrder(Readable.from(chunks)))
    const at = { Bucket: 'vault', Key: 'bundle', ChecksumMode: 'ENABLED' } as const
    const part = await minio.client.send(new HeadObjectCommand({ ...at, PartNumber: 1 }))
    assert.ok((part.PartsCount ?? 0) > 1, JSON.stringify(part))
    assert.ok((await minio.client.send(new HeadObjectCommand(at))).ChecksumSHA256, 'a checksum of all parts')
    assert.ok(Buffer.concat(await Array.fromAsync(target.open('bundle'))).equals(content))
    assert.equal((await testTarget(target)).canRemove, true)
  },
)

async function listen(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close().closeAllConnections())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function certificateFor(t: TestContext): Promise<{ cert: string; key: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-tls-'))
  t.after(() => rm(folder, { recursive: true }))
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  const words = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', files.key, '-out', files.cert, ...subject]
  execFileSync(findProgram('OPENSSL') as string, words, { stdio: 'ignore' })
  assert.equal((await readdir(folder)).length, 2)
  return files
}

/** What Azure would sign; the test server looks at its claims only. */
function identityToken(): string {
  const now = Math.floor(Date.now() / 1000)
  const tenant = '00000000-0000-0000-0000-000000000001'
  const claims = {
    aud: 'https://storage.azure.com',
    iss: `https://sts.windows.net/${tenant}/`,
    iat: now,
    nbf: now - 60,
    exp: now + 3600,
  }
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return [part({ alg: 'none', typ: 'JWT' }), part(claims), 'signature'].join('.')
}
