import { createRequire } from 'node:module'
import type { Db } from 'mongodb'
import { splitDocuments } from '../../document/raw-document.ts'

/** What the driver itself sends inserts with: documents that are serialized already, as a section of their own (OP_MSG kind 1). */
interface DocumentSequence {
  push(document: object, bytes: Uint8Array): number
}
const { DocumentSequence } = createRequire(import.meta.url)('mongodb/lib/cmap/commands.js') as {
  DocumentSequence: new (field: string) => DocumentSequence
}

/** The server takes 100,000 documents and 48 MB in one message; blocks are far smaller. */
export async function insertRaw(database: Db, collection: string, documents: Buffer): Promise<void> {
  const sequence = new DocumentSequence('documents')
  for (const bytes of splitDocuments(documents)) sequence.push({}, bytes)
  const reply = await database.command({
    insert: collection,
    ordered: true,
    bypassDocumentValidation: true,
    writeConcern: { w: 'majority' },
    documents: sequence,
  })
  const failed = (reply.writeErrors as { errmsg: string }[] | undefined)?.[0]
  if (failed !== undefined) throw new Error(failed.errmsg)
}
