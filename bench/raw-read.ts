import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { MongoClient } from 'mongodb'
import { openHost } from '../src/host.ts'

/** Usage: raw-read.ts read|gzip LEVEL. Reads the two large collections side by side and drops them; or says how large they are after gzip. */
const names = ['certificates', 'certificate_private_keys']
const uri = process.env.CERTAUTOPILOT_DATABASE_URI

if (process.argv[2] === 'gzip') process.stdout.write(String(await gzippedBytes()))
else if (uri === undefined) for (const name of names) for await (const _document of rows(name));
else await readFromServer(uri, async (cursors) => void (await Promise.all(cursors.map(drain))))

async function drain(cursor: AsyncIterable<unknown>): Promise<void> {
  for await (const _document of cursor);
}

async function readFromServer(address: string, use: (cursors: AsyncIterable<Uint8Array>[]) => Promise<void>): Promise<void> {
  const client = await MongoClient.connect(address)
  const database = client.db(process.env.CERTAUTOPILOT_DATABASE_NAME)
  await use(
    names.map((name) => database.collection(name).find({}, { raw: true, batchSize: 1000 }) as unknown as AsyncIterable<Uint8Array>),
  )
  await client.close()
}

async function* rows(name: string): AsyncGenerator<Uint8Array> {
  const { DatabaseSync } = await import('node:sqlite')
  const database = new DatabaseSync(openHost(process.env).paths.database, { readOnly: true })
  const statement = database.prepare(`SELECT doc FROM c_${name} ORDER BY rid`)
  statement.setReturnArrays(true)
  for (const row of statement.iterate() as Iterable<unknown>) yield (row as [Uint8Array])[0]
  database.close()
}

async function gzippedBytes(): Promise<number> {
  let bytes = 0
  const gzip = createGzip({ level: Number(process.argv[3]) })
  const counting = new Writable({
    write(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      done()
    },
  })
  const writing = pipeline(gzip, counting)
  const feed = async (source: AsyncIterable<Uint8Array>) => {
    for await (const document of source) if (!gzip.write(document)) await new Promise((resolve) => gzip.once('drain', resolve))
  }
  if (uri === undefined) for (const name of names) await feed(rows(name))
  else
    await readFromServer(uri, async (cursors) => {
      for (const cursor of cursors) await feed(cursor)
    })
  gzip.end()
  await writing
  return bytes
}
