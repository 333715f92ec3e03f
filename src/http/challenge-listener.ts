import { createServer, type Server } from 'node:http'
import type { Store } from '../store/store.ts'
import { challengeAnswer } from './acme.ts'

const path = /^\/\.well-known\/acme-challenge\/([\w-]{1,200})$/

/** Answers HTTP-01 (RFC 8555, 8.3) and nothing else, on a port of its own. Listens on every address: CAs come from anywhere. */
export async function listenForChallenges(store: Store, port: number): Promise<Server> {
  const server = createServer(async (request, response) => {
    const token = (request.url ?? '').match(path)?.[1]
    const answer = token === undefined ? undefined : await challengeAnswer({ store }, token).catch(() => undefined)
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/octet-stream' })
    response.end(answer)
  })
  server.requestTimeout = 10_000
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, resolve))
  return server
}
