import { Readable } from 'node:stream'
import type { Route53ClientConfig } from '@aws-sdk/client-route-53'
import type { Outbound } from '../../outbound/outbound.ts'

type RequestHandler = Extract<NonNullable<Route53ClientConfig['requestHandler']>, { handle: unknown }>
type Handled = Awaited<ReturnType<RequestHandler['handle']>>

/** Lets the AWS library send through our own way out, so that its endpoint is held to the same rules as every other URL. */
export function handlerOver(outbound: Outbound): RequestHandler {
  const handler = {
    async handle(request: Parameters<RequestHandler['handle']>[0], options: { abortSignal?: unknown } = {}): Promise<Handled> {
      const { protocol, hostname, port, path, query, method, headers, body } = request
      const text = new URLSearchParams(Object.entries(query ?? {}).map(([name, value]) => [name, String(value)])).toString()
      const url = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}${text === '' ? '' : `?${text}`}`
      const signal = options.abortSignal instanceof AbortSignal ? options.abortSignal : AbortSignal.timeout(30_000)
      const content = body === undefined || body === null || body === '' ? {} : { body: Buffer.from(body) }
      const reply = await outbound.request({ method: method as 'GET' | 'POST', url, headers, ...content }, signal)
      return {
        response: { statusCode: reply.status, headers: { ...reply.headers }, body: Readable.from([reply.body]) },
      } as unknown as Handled
    },
    updateHttpClientConfig() {},
    httpHandlerConfigs: () => ({}),
  }
  return handler as unknown as RequestHandler
}
