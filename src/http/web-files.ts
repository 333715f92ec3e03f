import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { AppError } from '../core/app-error.ts'

const folder = fileURLToPath(new URL('../../web/dist', import.meta.url))
const noncePlace = '__STYLE_NONCE__'
const compress = promisify(gzip)
const contentTypes: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

interface WebFile {
  type: string
  content: Buffer
  gzipped: Promise<Buffer>
}

let files: ReadonlyMap<string, WebFile> | undefined

/** Paths that are not pages of the web UI. */
const notPages = /^\/(api|crl|\.well-known)\/|^\/(healthz|readyz|metrics)$/

/** Whether a request that no route takes is for the web UI. */
export function isForWeb(request: FastifyRequest): boolean {
  return (request.method === 'GET' || request.method === 'HEAD') && !notPages.test(request.url)
}

/** Sends a file of the web UI; any path without one is a page of it. @throws AppError `not-found` it was not built */
export async function sendWeb(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  files ??= readFiles()
  const path = (request.url.split('?')[0] as string).slice(1)
  const file = files.get(path)
  if (file === undefined || path === 'index.html') return sendPage(files, reply)
  void reply
    .header('cache-control', 'public, max-age=31536000, immutable')
    .header('x-content-type-options', 'nosniff')
    .type(file.type)
  if (!/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return reply.send(file.content)
  return reply
    .header('content-encoding', 'gzip')
    .header('vary', 'accept-encoding')
    .send(await file.gzipped)
}

/** The one page. Style sheets that the components make at run time need a nonce; scripts come only from here. */
function sendPage(known: ReadonlyMap<string, WebFile>, reply: FastifyReply): FastifyReply {
  const page = known.get('index.html')
  if (page === undefined)
    throw new AppError('not-found', 'the web UI was not built', { hint: 'run "npm run build"; the launcher does it by itself' })
  const nonce = randomBytes(18).toString('base64url')
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "font-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ]
  return reply
    .header('content-security-policy', policy.join('; '))
    .header('cache-control', 'no-store')
    .header('referrer-policy', 'no-referrer')
    .header('x-content-type-options', 'nosniff')
    .type(page.type)
    .send(page.content.toString().replaceAll(noncePlace, nonce))
}

function readFiles(): ReadonlyMap<string, WebFile> {
  const found = new Map<string, WebFile>()
  for (const entry of safeEntries()) {
    const path = join(entry.parentPath, entry.name)
    const content = readFileSync(path)
    const type = contentTypes[extname(entry.name)] ?? 'application/octet-stream'
    found.set(relative(folder, path), { type, content, gzipped: compress(content) })
  }
  return found
}

function safeEntries() {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  } catch {
    return []
  }
}
