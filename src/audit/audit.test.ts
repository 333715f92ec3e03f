import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Secret } from '../core/secret.ts'
import { openEmbeddedStore } from '../store/embedded/store.ts'
import { type AuditEntry, auditCollections, audited, systemActor } from './audit.ts'
import { linkAudit } from './link-audit.ts'
import { verifyAudit } from './verify-audit.ts'

const secret = new Secret('audit secret')

async function linkedStore(t: TestContext, count: number) {
  const folder = await mkdtemp(join(tmpdir(), 'certautopilot-audit-'))
  const store = openEmbeddedStore({ path: join(folder, 'a.db'), databaseName: 'x' })
  t.after(async () => {
    await store.close()
    await rm(folder, { recursive: true })
  })
  await store.prepare(auditCollections)
  for (let n = 0; n < count; n++) await store.commit([audited(systemActor, 'test.event', `s${n}`, { n })])
  await linkAudit(store, secret)
  const entry = async (seq: number) => (await store.find<AuditEntry>('audit_logs', { where: { seq } })).items[0] as AuditEntry
  return { store, entry }
}

test('the chain verifies, and an unlinked tail is named as such', async (t) => {
  const { store } = await linkedStore(t, 450)
  assert.deepEqual((await verifyAudit(store, secret)).checked, 450)
  await store.commit([audited(systemActor, 'test.event', 'late')])
  const result = await verifyAudit(store, secret)
  assert.deepEqual([result.checked, result.unlinked], [450, 1])
})

test('two linkers at once link nothing twice', async (t) => {
  const { store } = await linkedStore(t, 0)
  for (let n = 0; n < 30; n++) await store.commit([audited(systemActor, 'test.event', `s${n}`)])
  await Promise.all([linkAudit(store, secret), linkAudit(store, secret), linkAudit(store, secret)])
  await linkAudit(store, secret)
  assert.equal((await verifyAudit(store, secret)).checked, 30)
})

test('a changed, removed or cut entry breaks the chain, by number', async (t) => {
  const { store, entry } = await linkedStore(t, 5)
  const third = await entry(3)
  await store.commit([{ replace: 'audit_logs', document: { ...third, subject: 'other' } as AuditEntry }])
  await assert.rejects(verifyAudit(store, secret), { code: 'verification-failed', message: /broken at 3/ })
  await store.commit([{ replace: 'audit_logs', document: third }])
  const last = await entry(5)
  await store.commit([{ remove: 'audit_logs', id: last._id }])
  await assert.rejects(verifyAudit(store, secret), { message: /entries at the end were removed/ })
  await store.commit([
    { insert: 'audit_logs', document: last },
    { remove: 'audit_logs', id: (await entry(2))._id },
  ])
  await assert.rejects(verifyAudit(store, secret), { message: /broken at 2/ })
})

test('another secret, and an empty log, do not verify', async (t) => {
  const { store } = await linkedStore(t, 2)
  await assert.rejects(verifyAudit(store, new Secret('other')), { code: 'verification-failed' })
  const empty = await linkedStore(t, 0)
  await assert.rejects(verifyAudit(empty.store, secret), { code: 'nothing-verified' })
})
