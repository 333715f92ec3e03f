import type { Page } from 'playwright-core'
import { openHost } from '../src/host.ts'
import { freePort } from '../test/acme-servers.ts'
import { looks, newViewer, startBrowser } from '../test/browser.ts'
import { newHost, ownerPassword } from '../test/test-host.ts'
import { fillStore } from './generate.ts'
import { median, missedCount, percentile, report } from './measure.ts'

/** The web UI with many certificates, in Chromium. Usage: npm run bench:ui. CERTIFICATES changes the size. */
const certificates = Number(process.env.CERTIFICATES ?? 100_000)
const scrollSeconds = 10

/** Runs in the page before anything of it: when rows stand there, and a task that comes after them has its turn. */
const watch = `
  globalThis.rowsAnswerAt = new Promise((resolve) => {
    const look = () => {
      if (document.querySelectorAll('[role=table][aria-label=certificates] [role=row] a').length < 6) return requestAnimationFrame(look)
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now()), 0))
    }
    look()
  })`

await bench()
process.exitCode = missedCount() === 0 ? 0 : 1

async function bench(): Promise<void> {
  const port = await freePort()
  await using host = await newHost({ CERTAUTOPILOT_SERVER_PORT: String(port) })
  await host.ok('setup')
  await fillStore(openHost({ CERTAUTOPILOT_HOME: host.home }), certificates)
  await host.start()
  const token = (await host.read(host.paths.setupToken)).trim()
  const url = `http://127.0.0.1:${port}`
  await fetch(`${url}/api/v1/setup`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token, email: 'owner@example.org', password: ownerPassword }),
  })
  const browser = await startBrowser()
  try {
    await using viewer = await newViewer(browser, looks[0], url)
    const { page } = viewer
    await page.goto('/')
    await page.getByLabel('E-mail').fill('owner@example.org')
    await page.locator('input[type=password]').fill(ownerPassword)
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    await opening(page)
    await scrolling(page)
  } finally {
    await browser.close()
  }
}

/** From the start of the navigation until rows stand there and a key is answered, on a processor that is slowed four times. */
async function opening(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Emulation.setCPUThrottlingRate', { rate: 4 })
  await page.addInitScript(watch)
  const times: number[] = []
  for (let n = 0; n < 7; n++) {
    await page.goto('/certificates', { waitUntil: 'commit' })
    times.push(await page.evaluate<number>('rowsAnswerAt'))
  }
  await session.send('Emulation.setCPUThrottlingRate', { rate: 1 })
  const typical = median(times)
  report(`list of ${certificates} interactive, processor slowed 4 times`, `${typical.toFixed(0)} ms of 1000 ms`, typical / 1000, {
    atMost: 1,
  })
}

/** The wheel turns once a frame; what is not smooth is a long time between two frames. */
async function scrolling(page: Page): Promise<void> {
  await page.goto('/certificates')
  await page.locator('[role=table][aria-label=certificates] [role=row] a').nth(5).waitFor()
  await page.waitForTimeout(1_000)
  const { frames, rows } = await page.evaluate<{ frames: number[]; rows: number }>(scroll(scrollSeconds * 1000))
  const longest = Math.max(...frames)
  const figure = `longest ${longest.toFixed(0)} ms of 50 ms, p99 ${percentile(frames, 0.99).toFixed(0)} ms, ${frames.length} frames, ${rows} rows`
  report(`scrolling ${certificates} rows for ${scrollSeconds} s, frames`, figure, longest / 50, { atMost: 1 })
}

/** Runs in the page. */
function scroll(forMs: number): string {
  return `(async () => {
    const box = document.querySelector('[role=table][aria-label=certificates]')
    const frames = []
    let last = performance.now()
    for (const end = last + ${forMs}; last < end; ) {
      box.scrollTop += 220
      const now = await new Promise((resolve) => requestAnimationFrame(resolve))
      frames.push(now - last)
      last = now
    }
    return { frames: frames.slice(1), rows: Math.round(box.scrollTop / 44) }
  })()`
}
