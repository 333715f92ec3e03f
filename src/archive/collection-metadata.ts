import { AppError } from '../core/app-error.ts'
import { fromExtendedJson } from '../document/from-extended-json.ts'
import { buildDocument, emptyDocument, rawInt32, rawString } from '../document/raw-builder.ts'
import { bsonType, elementsOf, findElement, nestedDocument, stringValue } from '../document/raw-document.ts'
import { toExtendedJson } from '../document/to-extended-json.ts'
import type { CollectionInfo } from './format.ts'

const types: readonly string[] = ['collection', 'view', 'timeseries'] satisfies CollectionInfo['type'][]

/** One document of the prelude: `{db, collection, metadata, size, type}`, where `metadata` is Extended JSON in a string. */
export function encodeCollection(database: string, info: CollectionInfo): Buffer {
  const indexes = info.indexes.map(toExtendedJson).join(',')
  const metadata =
    `{"options":${toExtendedJson(info.options)},"indexes":[${indexes}],` +
    `"collectionName":${JSON.stringify(info.name)},"type":"${info.type}"}`
  return buildDocument([
    ['db', rawString(database)],
    ['collection', rawString(info.name)],
    ['metadata', rawString(metadata)],
    ['size', rawInt32(0)],
    ['type', rawString(info.type)],
  ])
}

/** @throws AppError `corrupt` */
export function decodeCollection(bytes: Buffer): { database: string; info: CollectionInfo } {
  const text = (name: string) => {
    const element = findElement(bytes, name)
    if (element === undefined) throw new AppError('corrupt', `archive prelude: "${name}" of a collection is missing`)
    return stringValue(bytes, element)
  }
  const name = text('collection')
  const metadata = text('metadata')
  const info: CollectionInfo = { name, type: 'collection', options: emptyDocument, indexes: [] }
  if (metadata !== '') readMetadata(fromExtendedJson(metadata), info)
  const type = findElement(bytes, 'type')
  if (type !== undefined) info.type = collectionType(stringValue(bytes, type), name)
  return { database: text('db'), info }
}

function readMetadata(metadata: Buffer, info: CollectionInfo): void {
  for (const element of elementsOf(metadata)) {
    if (element.name === 'options' && element.type === bsonType.document) info.options = nestedDocument(metadata, element)
    if (element.name === 'indexes' && element.type === bsonType.array) info.indexes = documentsIn(nestedDocument(metadata, element))
  }
}

function documentsIn(array: Buffer): Buffer[] {
  return [...elementsOf(array)].map((element) => nestedDocument(array, element))
}

function collectionType(text: string, name: string): CollectionInfo['type'] {
  if (text === '') return 'collection'
  if (!types.includes(text)) {
    throw new AppError('archive-version', `archive prelude: collection "${name}" has the unknown type "${text}"`)
  }
  return text as CollectionInfo['type']
}
