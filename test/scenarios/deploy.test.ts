import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createServer } from 'node:tls'
import { newHost, type TestHost } from '../test-host.ts'

interface Shown {
  _id: string
  fingerprint: string
}

/** A TLS server that reads its files anew when the reload command asks for it. */
async function startTlsServer(t: TestContext, folder: string) {
  const files = { cert: join(folder, 'web.pem'), key: join(folder, 'web.key') }
  const read = async () => ({ cert: await readFile(files.cert), key: await readFile(files.key) })
  const server = createServer({}, (socket) => socket.end())
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const flag = join(folder, 'reload')
  const timer = setInterval(async () => {
    if ((await stat(flag).catch(() => undefined)) === undefined) return
    await rm(flag)
    server.setSecureContext(await read())
  }, 20)
  t.after(() => clearInterval(timer))
  return { ...files, check: `127.0.0.1:${(server.address() as { port: number }).port}`, reload: `/usr/bin/touch ${flag}` }
}

async function setUp(t: TestContext, extra: (folder: string) => string[] = () => []) {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-deploy-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const web = await startTlsServer(t, folder)
  const host = await newHost({
    CERTAUTOPILOT_DEPLOY_FOLDERS: folder,
    CERTAUTOPILOT_DEPLOY_COMMANDS: [web.reload, ...extra(folder)].join(','),
  })
  t.after(() => host[Symbol.asyncDispose]())
  const api = await host.furnish(1)
  const only = async () => (JSON.parse(await api.request('GET', '/api/v1/certificates')) as { items: [Shown] }).items[0]
  return { folder, web, host, api, only }
}

function create(host: TestHost, name: string, settings: Record<string, string>) {
  const words = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  return host.cli('deploy', 'create', name, ...words)
}

test('a certificate is put in use, seen there, and again after its renewal', async (t) => {
  const { web, host, only } = await setUp(t)
  const made = await create(host, 'web', { certificate_path: web.cert, key_path: web.key, reload: web.reload, check: web.check })
  assert.equal(made.exitCode, 0, made.stderr)
  const { _id } = await only()
  const attached = await host.ok('deploy', 'attach', _id, 'web')
  assert.match(attached.stdout, /serves it/)
  assert.equal((await stat(web.key)).mode & 0o777, 0o600)
  const first = await readFile(web.cert, 'utf8')

  await host.ok('cert', 'renew', _id)
  const { fingerprint } = await only()
  for (const deadline = Date.now() + 15_000; ; ) {
    const now = new X509Certificate(await readFile(web.cert)).fingerprint256.replaceAll(':', '').toLowerCase()
    if (now === fingerprint) break
    assert.ok(Date.now() < deadline, 'the renewed certificate was not deployed')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.equal(await readFile(`${web.cert}.previous`, 'utf8'), first)
  assert.equal((await stat(`${web.key}.previous`)).mode & 0o777, 0o600)
  const listed = await host.ok('deploy', 'list', _id)
  assert.match(listed.stdout, /web\s+deployed/)
})

test('what the server does not take is put back, and said', async (t) => {
  const { folder, web, host, only } = await setUp(t, (path) => [`${join(path, 'broken.sh')} a b`])
  await writeFile(web.cert, 'what was there')
  await writeFile(web.key, 'the key that was there')
  const script = join(folder, 'broken.sh')
  await writeFile(script, '#!/bin/sh\necho "unknown directive in $2" >&2\nexit 3\n')
  await chmod(script, 0o755)
  await create(host, 'web', { certificate_path: web.cert, key_path: web.key, reload: `${script} a b` })
  const attached = await host.cli('deploy', 'attach', (await only())._id, 'web')
  assert.equal(attached.exitCode, 1)
  assert.match(attached.stderr + attached.stdout, /unknown directive in b; what was there before is in use again/)
  assert.equal(await readFile(web.cert, 'utf8'), 'what was there')
  assert.equal(await readFile(web.key, 'utf8'), 'the key that was there')
  assert.match((await host.ok('deploy', 'list', (await only())._id)).stdout, /unknown directive/)
})

test('folders and commands that the host does not allow are refused, however they are spelt', async (t) => {
  const { folder, web, host } = await setUp(t)
  await mkdir(join(folder, 'sub'))
  for (const path of ['/etc/passwd', `${folder}/../x.pem`, `${folder}x/a.pem`, 'relative.pem', `${folder}/sub/../../y.pem`]) {
    const refused = await create(host, `p ${Math.random()}`, { certificate_path: path })
    assert.match(refused.stderr, /is not in a folder that deployments may write to/, path)
  }
  for (const reload of ['/bin/sh -c id', `${web.reload}; id`, `${web.reload} /etc/x`]) {
    const refused = await create(host, `c ${Math.random()}`, { certificate_path: web.cert, reload })
    assert.match(refused.stderr, /is not a command that deployments may run/, reload)
  }
})

test('a private key is only sent over https and signed', async (t) => {
  const { host } = await setUp(t)
  const refused = await host.cli(
    'deploy',
    'create',
    'hook',
    '--kind',
    'webhook',
    '--set',
    'url=http://example.org/',
    '--set',
    'include_key=yes',
  )
  assert.match(refused.stderr, /only sent over https and signed with a secret/)
})
