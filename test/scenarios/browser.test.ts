import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { freePort } from '../acme-servers.ts'
import { findBarriers, looks, newViewer, startBrowser } from '../browser.ts'
import { needs } from '../servers.ts'
import { newHost, ownerPassword, type TestHost } from '../test-host.ts'

/** Where screenshots go, for people who want to look at them. */
const screenshots = process.env.SCREENSHOTS

describe('the web UI in a real browser', needs('CHROMIUM'), () => {
  let browser: Browser
  before(async () => {
    browser = await startBrowser()
  })
  after(() => browser.close())

  for (const look of looks) {
    test(`the whole first day, on ${look.name}`, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), 'certautopilot-nas-'))
      t.after(() => rm(folder, { recursive: true }))
      const { host: made, url } = await hostWithUrl({ CERTAUTOPILOT_BACKUP_TARGETS: `nas=disk://${folder}` })
      await using host = made
      await host.ok('setup')
      await host.start()
      await using viewer = await newViewer(browser, look, url)
      const { page } = viewer
      let shot = 0
      const looked = async (what: string) => {
        await page.mouse.move(0, 0)
        await page.waitForTimeout(300)
        if (screenshots !== undefined) {
          await mkdir(screenshots, { recursive: true })
          await page.screenshot({
            path: join(screenshots, `${look.name.replaceAll(/\W+/g, '-')}-${String(++shot).padStart(2, '0')}-${what}.png`),
          })
        }
        assert.deepEqual(await findBarriers(page), [], what)
      }

      await page.goto('/')
      await page.getByLabel('Setup token').fill('wrong')
      await page.getByLabel('E-mail').fill('owner@example.org')
      await page.locator('input[type=password]').fill(ownerPassword)
      await page.getByRole('button', { name: 'Become the owner' }).click()
      await page.getByText('The setup token is wrong').waitFor()
      await looked('setup-refused')
      await page.getByLabel('Setup token').fill((await host.read(host.paths.setupToken)).trim())
      await page.getByRole('button', { name: 'Become the owner' }).click()
      const identity = (await host.read(host.paths.recoveryKit)).match(/AGE-SECRET-KEY-\S+/)?.[0] as string
      await page.getByText(identity).waitFor()
      assert.ok(await page.getByAltText('QR code of the recovery identity').isVisible())
      await looked('recovery-kit')
      await page.getByLabel(/The kit is printed or saved/).check()
      await page.getByRole('button', { name: 'Next' }).click()
      await page.getByText('An ACME CA').click()
      await page.getByLabel('I have read the terms').waitFor()
      await looked('first-issuer')
      await page.getByText('A CA of your own', { exact: true }).click()
      await page.getByRole('button', { name: 'Make the CA and finish' }).click()

      await page.getByText('Nothing could be restored yet.').waitFor()
      await page.getByText('1 of 6 done').waitFor()
      await looked('overview-empty')
      await page.getByRole('link', { name: 'Take the recovery kit off this host' }).click()
      await page.getByRole('button', { name: 'Show it' }).click()
      await page.getByText(identity).waitFor()
      await page.goto('/')
      await page.getByRole('link', { name: 'Issue the first certificate' }).click()
      await page.getByRole('button', { name: 'Next' }).click()
      await page.getByRole('combobox', { name: 'Names' }).pressSequentially('www.example.org,example.org')
      await page.getByRole('combobox', { name: 'Names' }).press('Enter')
      await looked('issue-names')
      await page.getByRole('button', { name: 'Next' }).click()
      await page.getByText('certautopilot cert issue www.example.org example.org').waitFor()
      await page.getByText('all 2 names are well formed').waitFor()
      await looked('preflight')
      await page.getByRole('button', { name: 'Issue', exact: true }).click()
      await page.getByRole('link', { name: 'Show the certificate' }).click()
      await page.getByRole('heading', { name: 'www.example.org' }).waitFor()
      await looked('certificate')

      await page.getByRole('tab', { name: 'Deployed' }).click()
      await page.getByRole('button', { name: 'Deploy', exact: true }).waitFor()
      await looked('deployed')
      await page.getByRole('button', { name: 'Renew now' }).click()
      await page.getByText('done', { exact: true }).first().waitFor()
      await looked('renewed')
      const download = page.waitForEvent('download')
      await page.getByRole('button', { name: 'Download' }).click()
      await page.getByRole('menuitem', { name: 'Certificate and chain (PEM)' }).click()
      assert.equal((await download).suggestedFilename(), 'www.example.org.pem')

      await go(page, look.width, 'Backups')
      await page.getByRole('button', { name: 'Back up now' }).click()
      await page.getByText(/published certautopilot-backup-/).waitFor()
      await page.getByRole('button', { name: 'Verify' }).click()
      await page.getByText(/signature good/).waitFor()
      await page.getByRole('button', { name: 'Run a drill' }).click()
      await page.getByText(/passed: restored in/).waitFor()
      await page.getByText(/Recovery in/).waitFor()
      await page.getByText('newest at 1 of 1 target').waitFor()
      await page.getByRole('button', { name: 'Test', exact: true }).click()
      await page.getByText(/Written, read and listed/).waitFor()
      await page.getByRole('button', { name: 'Contents' }).click()
      await page.getByRole('cell', { name: 'certificate_private_keys' }).waitFor()
      await looked('backups')
      await page.getByRole('button', { name: 'Pin…' }).click()
      await page.getByLabel('Why').fill('before the move')
      await looked('pin')
      await page.getByRole('dialog').getByRole('button', { name: 'Pin', exact: true }).click()
      await page.getByText(/pinned: before the move/).waitFor()
      await chartsAndCalendars(page)
      await makeSuspect(host)
      await page.reload()
      await page.getByText('"certificates" fell from 9 to 1', { exact: true }).waitFor()
      await page.getByRole('button', { name: 'Accept…' }).click()
      await page.getByLabel('Why').fill('eight were revoked')
      await looked('accept')
      await page.getByRole('dialog').getByRole('button', { name: 'Accept', exact: true }).click()
      await page.getByRole('button', { name: 'Accept…' }).waitFor({ state: 'detached' })
      for (let n = 0; n < 3; n++) await host.cliWith({ CERTAUTOPILOT_BACKUP_KEEP_LEAST: '50' }, 'backup', 'create')
      await page.getByRole('button', { name: 'Unpin' }).click()
      await page.getByRole('button', { name: 'Remove 1 bundle…' }).click()
      await page.getByRole('dialog').getByText('no rule keeps it').waitFor()
      await looked('prune')
      await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click()
      await page.getByRole('button', { name: 'Remove 1 bundle…' }).waitFor({ state: 'detached' })
      assert.equal((await host.bundles()).length, 3)

      await page.goto('/certificates?search=example')
      await page.getByText('1 certificate', { exact: true }).waitFor()
      await looked('certificates')
      await page.getByLabel('select www.example.org').check()
      await page.getByRole('button', { name: 'Tag…' }).click()
      await page.getByRole('dialog').getByLabel('Add').fill('edge')
      await page.getByRole('dialog').getByLabel('Add').press('Enter')
      await page.getByRole('dialog').getByRole('button', { name: 'Tag', exact: true }).click()
      if (look.width < 768) await page.goto('/certificates?search=%23edge')
      else await page.getByRole('link', { name: 'edge', exact: true }).click()
      await page.waitForURL(/search=%23edge/)
      await page.getByText('1 certificate', { exact: true }).waitFor()
      await looked('tagged')
      await page.getByLabel('select www.example.org').check()
      await page.getByRole('button', { name: 'Renew 1' }).click()
      await page.goto('/certificates?search=nothing-like-it')
      await page.getByText('Nothing matches').waitFor()
      await looked('no-match')
      for (const path of ['/jobs', '/issuers', '/deploy', '/notify', '/audit', '/settings', '/', '/nowhere']) {
        await page.goto(path)
        await page.getByRole('heading', { level: 1 }).waitFor()
        await looked(path.slice(1) || 'overview')
      }
      for (const [path, button, title] of [
        ['/issuers', 'add to DNS credentials', 'New DNS credential'],
        ['/deploy', 'Add a place', 'New place'],
        ['/notify', 'Add a channel', 'New channel'],
      ] as const) {
        await page.goto(path)
        await page.getByRole('button', { name: button }).click()
        await page.getByRole('dialog', { name: title }).waitFor()
        await looked(title.replaceAll(' ', '-'))
        await page.getByRole('button', { name: 'Cancel' }).click()
        await page.getByRole('dialog', { name: title }).waitFor({ state: 'hidden' })
      }
      await page.goto('/audit')
      await page.getByRole('button', { name: 'Verify the chain' }).click()
      await page.getByText(/links hold/).waitFor()

      await page.getByRole('button', { name: 'menu of owner@example.org' }).click()
      await page.getByRole('menuitem', { name: 'Log out' }).click()
      await page.getByRole('button', { name: 'Log in' }).waitFor()
      await looked('login')
      await page.getByLabel('E-mail').fill('owner@example.org')
      await page.locator('input[type=password]').fill('not the password')
      await page.getByRole('button', { name: 'Log in' }).click()
      await page.getByRole('alert').waitFor()
      assert.deepEqual(viewer.complaints, [])
      assert.deepEqual(viewer.outside, [])
    })
  }

  test('safe mode is a banner on every page, until it is released; keys lead everywhere', async () => {
    const { host: made, url } = await hostWithUrl()
    await using host = made
    await host.furnish(3)
    const bundle = await host.backup()
    await host.stop()
    await host.ok('restore', 'apply', bundle)
    await host.start()
    await using viewer = await newViewer(browser, looks[0], url)
    const { page } = viewer
    await page.goto('/')
    await page.getByLabel('E-mail').fill('owner@example.org')
    await page.locator('input[type=password]').fill(ownerPassword)
    await page.keyboard.press('Enter')
    await page.getByText(/3 certificates/).waitFor()
    for (const [letter, title] of [
      ['c', 'Certificates'],
      ['b', 'Backups'],
      ['j', 'Jobs'],
    ] as const) {
      await page.keyboard.press('g')
      await page.keyboard.press(letter)
      await page.getByRole('heading', { level: 1, name: title }).waitFor()
      await page.getByText(/Nothing is issued, renewed or revoked/).waitFor()
    }
    assert.deepEqual(await findBarriers(page), [])
    await page.keyboard.press('/')
    await page.keyboard.type('c1.example')
    await page.keyboard.press('Enter')
    await page.getByText('1 certificate', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Release: let it act again' }).click()
    await page.getByText(/Nothing is issued, renewed or revoked/).waitFor({ state: 'hidden' })
    assert.deepEqual(viewer.complaints, [])
  })
})

/** A day with a bundle, here and at the target, and how large it was and how long it took. */
async function chartsAndCalendars(page: Page): Promise<void> {
  for (const place of ['nas', 'this host']) {
    await page.getByRole('radiogroup', { name: 'where' }).getByText(place, { exact: true }).click()
    await page.getByRole('listitem', { name: /1 × verified/ }).waitFor()
  }
  for (const title of ['Size', 'Duration'])
    assert.equal(
      await page
        .getByRole('list', { name: `${title} of the last 1 backups` })
        .getByRole('listitem')
        .count(),
      1,
    )
}

/** As the manifest of a bundle says whose counts fell. */
async function makeSuspect(host: TestHost): Promise<void> {
  const [bundle] = await host.bundles()
  const path = join(host.paths.backups, `${bundle}.manifest.json`)
  const sidecar = JSON.parse(await host.read(path)) as { manifest: { suspect: string } }
  sidecar.manifest.suspect = '"certificates" fell from 9 to 1'
  await writeFile(path, JSON.stringify(sidecar))
}

/** An installation that listens where we know. */
async function hostWithUrl(environment: Record<string, string> = {}): Promise<{ host: TestHost; url: string }> {
  const port = await freePort()
  return { host: await newHost({ CERTAUTOPILOT_SERVER_PORT: String(port), ...environment }), url: `http://127.0.0.1:${port}` }
}

async function go(page: Page, width: number, name: string): Promise<void> {
  await page.getByRole('navigation', { name: 'main' }).getByRole('link', { name }).click()
  if (width < 768) await page.getByRole('heading', { level: 1, name }).waitFor()
}
