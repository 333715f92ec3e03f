import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { openOutbound } from './outbound.ts'

const signal = new AbortController().signal

async function redirector(t: TestContext, target: string): Promise<number> {
  const server = createServer((_request, response) => response.writeHead(302, { location: target }).end())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close().closeAllConnections())
  return (server.address() as { port: number }).port
}

for (const url of [
  'http://127.0.0.1/',
  'http://localhost/',
  'http://10.1.2.3/',
  'http://169.254.169.254/latest/meta-data/',
  'http://[::1]/',
  'http://[fe80::1]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[fd00::1]/',
  'http://0.0.0.0/',
  'http://2130706433/',
  'http://0x7f.1/',
]) {
  test(`${url} is not reached unless it is allowed`, async () => {
    await assert.rejects(openOutbound([]).request({ method: 'GET', url }, signal), { code: 'forbidden' })
  })
}

test('an address that is allowed is reached, and what it redirects to is looked at again', async (t) => {
  const port = await redirector(t, 'http://127.0.0.2:9/')
  const outbound = openOutbound(['127.0.0.1'])
  await assert.rejects(outbound.request({ method: 'GET', url: `http://127.0.0.1:${port}/` }, signal), {
    code: 'forbidden',
    message: /127\.0\.0\.2/,
  })
  const posted = await outbound.request({ method: 'POST', url: `http://127.0.0.1:${port}/`, body: '' }, signal)
  assert.equal(posted.status, 302)
})

test('a circle of redirects, an endless reply and another scheme end', async (t) => {
  const port = await redirector(t, '/')
  const outbound = openOutbound(['localhost', '127.0.0.0/8'])
  await assert.rejects(outbound.request({ method: 'GET', url: `http://localhost:${port}/` }, signal), { message: /redirects more/ })
  const endless = createServer((_request, response) => {
    const timer = setInterval(() => response.write(Buffer.alloc(64 * 1024)), 1)
    response.on('close', () => clearInterval(timer))
  })
  await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve))
  t.after(() => endless.close().closeAllConnections())
  const url = `http://127.0.0.1:${(endless.address() as { port: number }).port}/`
  await assert.rejects(outbound.request({ method: 'GET', url }, signal), { message: /answers with too much/ })
  await assert.rejects(outbound.request({ method: 'GET', url: 'file:///etc/passwd' }, signal), { code: 'usage' })
})

test('a rule that is no address, range or name is refused', () => {
  assert.throws(() => openOutbound(['10.0.0.0/64']), { code: 'config', message: /10\.0\.0\.0\/64/ })
})
