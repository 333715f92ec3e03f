import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Client, type ConnectConfig, type SFTPWrapper } from 'ssh2'
import { messageOf } from '../../core/app-error.ts'
import { sleep } from '../../core/clock.ts'
import type { TargetSecrets } from '../target.ts'

/** So many questions within the time that the other side may be silent. */
const keepAlives = 4
const maxAttempts = 3
const retryMs = 500

export interface Connection {
  client: Client
  sftp: SFTPWrapper
  /** Rejects when the connection ends: what is asked after that is never answered. */
  lost: Promise<never>
}

export function connectConfig(url: URL, silenceMs: number, secrets: TargetSecrets): ConnectConfig {
  const pinned = Buffer.from((url.searchParams.get('host_key') ?? '').replace(/^SHA256:/, '').replaceAll(' ', '+'), 'base64')
  const keyFile = secrets('PRIVATE_KEY_FILE')
  const [key, password, passphrase] = [secrets('PRIVATE_KEY'), secrets('PASSWORD'), secrets('PASSPHRASE')]
  return {
    host: url.hostname,
    port: url.port === '' ? 22 : Number(url.port),
    username: decodeURIComponent(url.username),
    readyTimeout: silenceMs,
    keepaliveInterval: silenceMs / keepAlives,
    keepaliveCountMax: keepAlives - 1,
    hostVerifier: (given: Buffer) => {
      const digest = createHash('sha256').update(given).digest()
      return digest.length === pinned.length && timingSafeEqual(digest, pinned)
    },
    ...(keyFile === undefined ? {} : { privateKey: readFileSync(keyFile) }),
    ...(key === undefined ? {} : { privateKey: key }),
    ...(password === undefined ? {} : { password }),
    ...(passphrase === undefined ? {} : { passphrase }),
  }
}

/** A server that does not answer is asked again; one that refuses the key, or has another one, is not. */
export async function connect(config: ConnectConfig): Promise<Connection> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connectOnce(config)
    } catch (error) {
      const isNetwork = /ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|closed|Timed out/i.test(messageOf(error))
      if (!isNetwork || attempt === maxAttempts) throw error
      await sleep(retryMs * 2 ** attempt)
    }
  }
}

function connectOnce(config: ConnectConfig): Promise<Connection> {
  const client = new Client()
  const { promise: lost, reject: lose } = Promise.withResolvers<never>()
  lost.catch(() => {})
  return new Promise((resolve, reject) => {
    for (const fail of [reject, lose]) {
      client.on('error', fail)
      client.once('close', () => fail(new Error('the connection was closed')))
    }
    client.once('ready', () =>
      client.sftp((error, sftp) => (error === undefined ? resolve({ client, sftp, lost }) : reject(error))),
    )
    client.connect(config)
    // Every answer is waited for: without this the kernel holds back the end of each request, for 40 ms.
    client.setNoDelay(true)
  })
}
