import { createServer, type Socket, connect as tcpConnect } from 'node:net'
import { deserialize, serialize } from 'bson'

type Document = Record<string, unknown>

/** What happens to one command: it passes, is answered with this instead, ends its connection, or is never answered. */
export type Verdict = undefined | { answer: Document } | 'cut' | 'hang'

export interface MongoProxy extends AsyncDisposable {
  /** All commands go through the proxy, whatever members the server names. */
  readonly uri: string
  readonly address: string
  /** Asked about every command, and may take its time; the default lets everything pass. */
  judge: (command: Document) => Verdict | Promise<Verdict>
}

const opMsg = 2013
const opQuery = 2004
const opReply = 1
const headerBytes = 16

/** Stands between a driver and a server of the MongoDB protocol (OP_MSG), and spoils what it is told to. */
export async function startMongoProxy(port: number): Promise<MongoProxy> {
  const sockets = new Set<Socket>()
  const proxy: { judge: MongoProxy['judge'] } = { judge: () => undefined }
  const server = createServer((client) => {
    const upstream = tcpConnect(port, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    upstream.pipe(client)
    let pending = Buffer.alloc(0)
    client.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= 4 && pending.length >= pending.readInt32LE(0)) {
        const message = pending.subarray(0, pending.readInt32LE(0))
        pending = pending.subarray(message.length)
        pass(message)
      }
    })
    const pass = (message: Buffer) => {
      const command = commandOf(message)
      const verdict = command === undefined ? undefined : proxy.judge(command)
      if (verdict instanceof Promise) void verdict.then((late) => carryOut(message, late))
      else carryOut(message, verdict)
    }
    const carryOut = (message: Buffer, verdict: Verdict) => {
      if (verdict === undefined) upstream.write(message)
      else if (verdict === 'cut') client.destroy()
      else if (verdict !== 'hang') client.write(reply(message, verdict.answer))
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port: own } = server.address() as { port: number }
  return Object.assign(proxy, {
    address: `127.0.0.1:${own}`,
    uri: `mongodb://127.0.0.1:${own}/?directConnection=true`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}

/** The command in an OP_MSG, or in the OP_QUERY of a first handshake. */
function commandOf(message: Buffer): Document | undefined {
  const start = documentStart(message)
  return start === undefined ? undefined : deserialize(message.subarray(start, start + message.readInt32LE(start)))
}

function documentStart(message: Buffer): number | undefined {
  const opcode = message.readInt32LE(12)
  if (opcode === opMsg) return message[headerBytes + 4] === 0 ? headerBytes + 5 : undefined
  return opcode === opQuery ? message.indexOf(0, headerBytes + 4) + 9 : undefined
}

function reply(request: Buffer, answer: Document): Buffer {
  const isMessage = request.readInt32LE(12) === opMsg
  const before = Buffer.alloc(isMessage ? 5 : 20)
  if (!isMessage) before.writeInt32LE(1, 16)
  const header = Buffer.alloc(headerBytes)
  const body = Buffer.concat([before, serialize(answer)])
  header.writeInt32LE(headerBytes + body.length, 0)
  header.writeInt32LE(request.readInt32LE(4), 8)
  header.writeInt32LE(isMessage ? opMsg : opReply, 12)
  return Buffer.concat([header, body])
}
