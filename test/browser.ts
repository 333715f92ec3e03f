import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type Browser, chromium, type Page } from 'playwright-core'
import { findProgram } from './servers.ts'

const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
const words =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'

export const looks = [
  { name: 'desktop, light', width: 1440, height: 900, scheme: 'light' },
  { name: 'phone, dark', width: 390, height: 844, scheme: 'dark' },
] as const
export type Look = (typeof looks)[number]

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: findProgram('CHROMIUM') as string, headless: true, args: words.split(' ') })
}

export interface Viewer extends AsyncDisposable {
  readonly page: Page
  /** What the console complained about, refused log-ins aside. */
  readonly complaints: string[]
  /** Requests that did not go to the service. */
  readonly outside: string[]
}

/** A person with an empty browser in front of one screen. */
export async function newViewer(browser: Browser, look: Look, url: string): Promise<Viewer> {
  const context = await browser.newContext({
    viewport: { width: look.width, height: look.height },
    colorScheme: look.scheme,
    reducedMotion: 'reduce',
    baseURL: url,
  })
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  const complaints: string[] = []
  const outside: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('401 (Unauthorized)')) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) outside.push(request.url())
  })
  return { page, complaints, outside, [Symbol.asyncDispose]: () => context.close() }
}

/** What axe finds against WCAG 2.2 AA. It is put in by the debugger, which the page's policy does not bind. */
export async function findBarriers(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(axePath, 'utf8'))
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(options: object): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> }
    }
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
    return (await axe.run({ runOnly: tags })).violations
  })
  return found.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} ${failureSummary}`))
}
