import type { MongoClient } from 'mongodb'
import { AppError } from '../../core/app-error.ts'
import { connect } from './client.ts'
import type { MongoOptions } from './store.ts'

const defaultAnswerMs = 60_000

/** What a snapshot is read with. A cursor belongs to the member that opened it, so a secondary gets a client of its own. */
export interface Reader extends AsyncDisposable {
  client: MongoClient
  isPrimary: boolean
  /** How long one answer may take. */
  answerMs: number
}

/** @throws AppError `unreachable` */
export async function openReader(
  client: MongoClient,
  { uri, readPreference: preference = 'primary', answerMs = defaultAnswerMs }: MongoOptions,
): Promise<Reader> {
  const self: Reader = { client, isPrimary: true, answerMs, [Symbol.asyncDispose]: async () => {} }
  if (preference === 'primary') return self
  const hello = await client
    .db('admin')
    .command({ hello: 1 }, { readPreference: preference })
    .catch((error) => {
      throw new AppError('unreachable', `no member of the replica set fits backup.read_preference "${preference}"`, {
        hint: 'start one, or allow others: "secondaryPreferred" reads the primary when there is no secondary',
        cause: error,
      })
    })
  if (hello.isWritablePrimary || typeof hello.me !== 'string') return self
  const direct = await connect(uriOfMember(uri, hello.me, client.options.credentials?.source))
  return { client: direct, isPrimary: false, answerMs, [Symbol.asyncDispose]: () => direct.close() }
}

/** The same URI for one member. What an SRV record would add (TLS, the source of users) is written out. */
export function uriOfMember(uri: string, member: string, authSource: string | undefined): string {
  const [, scheme, credentials = '', rest = ''] = /^(mongodb(?:\+srv)?):\/\/([^/?]*@)?[^/?]*(.*)$/.exec(uri) ?? []
  const [path = '', query = ''] = rest.split('?')
  const parameters = new URLSearchParams(query)
  if (scheme === 'mongodb+srv') {
    if (!parameters.has('tls') && !parameters.has('ssl')) parameters.set('tls', 'true')
    if (authSource !== undefined && !parameters.has('authSource')) parameters.set('authSource', authSource)
    for (const name of ['srvServiceName', 'srvMaxHosts']) parameters.delete(name)
  }
  for (const name of ['loadBalanced', 'readPreference', 'readPreferenceTags', 'maxStalenessSeconds']) parameters.delete(name)
  parameters.set('directConnection', 'true')
  return `mongodb://${credentials}${member}${path || '/'}?${parameters}`
}
