import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findProgram, needs } from '../../../test/servers.ts'
import { createCa } from './create-ca.ts'
import { openInternalCa } from './issuer.ts'

test('openssl accepts a certificate of the internal CA, and refuses it once the CRL names it', needs('OPENSSL'), async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-ca-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const now = new Date()
  const ca = await createCa('Test', now)
  const issuer = openInternalCa(ca.intermediate, 'http://127.0.0.1/crl')
  const publicKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' })
  const request = {
    publicKey,
    commonName: 'a.example',
    sans: ['a.example', '10.0.0.1'],
    notBefore: now,
    notAfter: new Date(now.getTime() + 86_400_000),
  }
  const issued = await issuer.issue(request)
  const certificate = new X509Certificate(issued.certificatePem)
  assert.equal(certificate.subjectAltName, 'DNS:a.example, IP Address:10.0.0.1')
  assert.match(issued.serial, /^[0-9a-f]{32}$/)
  assert.equal(certificate.serialNumber.toLowerCase().padStart(32, '0'), issued.serial)

  const write = async (name: string, content: string | Buffer) => {
    await writeFile(join(folder, name), content)
    return join(folder, name)
  }
  const root = await write('root.pem', ca.root.certificatePem)
  const chain = await write('chain.pem', issued.chainPem)
  const leaf = await write('leaf.pem', issued.certificatePem)
  const verify = (...flags: string[]) =>
    execFileSync(findProgram('OPENSSL') as string, ['verify', ...flags, '-CAfile', root, '-untrusted', chain, leaf], {
      stdio: 'pipe',
    }).toString()
  assert.match(verify(), /OK/)

  const crl = await issuer.crl([{ serial: issued.serial, revokedAt: now, reason: 'keyCompromise' }], 300, now)
  const crlPath = await write('crl.der', crl)
  const text = execFileSync(findProgram('OPENSSL') as string, [
    'crl',
    '-inform',
    'DER',
    '-in',
    crlPath,
    '-noout',
    '-text',
  ]).toString()
  assert.match(text, /Key Compromise/)
  assert.match(text, /X509v3 CRL Number:\s+(300|0x12C)/i)
  const pem = await write(
    'crl.pem',
    `-----BEGIN X509 CRL-----\n${crl.toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END X509 CRL-----\n`,
  )
  assert.throws(() => verify('-crl_check', '-CRLfile', pem), /revoked/)
})
