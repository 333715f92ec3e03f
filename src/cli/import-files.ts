import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { AppError, messageOf } from '../core/app-error.ts'

/** A file as the API takes it. */
export interface ImportFile {
  name: string
  pem?: string
  pkcs12?: string
  passphrase?: string | undefined
}

const maxFileBytes = 3_000_000

/**
 * Reads files, and what looks like certificates in directories. In a directory a file that holds none is passed over and listed; one that
 * was named must hold some.
 * @throws AppError `usage` a file that was named cannot be read
 */
export async function findImportFiles(
  paths: readonly string[],
  passphrase: string | undefined,
): Promise<{ files: ImportFile[]; skipped: { file: string; reason: string }[] }> {
  const files: ImportFile[] = []
  const skipped: { file: string; reason: string }[] = []
  const seen = new Set<string>()
  for (const path of paths) {
    const isDirectory = await stat(path).then(
      (entry) => entry.isDirectory(),
      (error) => {
        throw new AppError('usage', `cannot read "${path}": ${messageOf(error)}`, { cause: error })
      },
    )
    if (isDirectory)
      for await (const file of filesIn(path, new Set())) await add(file, { files, skipped, seen, passphrase, isNamed: false })
    else await add(path, { files, skipped, seen, passphrase, isNamed: true })
  }
  return { files, skipped }
}

/** Every file below a folder. Links are followed; a folder that a link leads back to is not entered again. */
async function* filesIn(folder: string, entered: Set<string>): AsyncGenerator<string> {
  const target = await realpath(folder)
  if (entered.has(target)) return
  entered.add(target)
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name)
    const isFolder = await stat(path).then(
      (entry) => entry.isDirectory(),
      () => false,
    )
    if (isFolder) yield* filesIn(path, entered)
    else yield path
  }
}

interface Found {
  files: ImportFile[]
  skipped: { file: string; reason: string }[]
  seen: Set<string>
  passphrase: string | undefined
  isNamed: boolean
}

/** Trust stores are full of links to the same files: each is read once. */
async function add(file: string, found: Found): Promise<void> {
  try {
    const target = await realpath(file)
    const { size } = await stat(target)
    const entry = await stat(target)
    if (found.seen.has(target) || !entry.isFile()) return
    found.seen.add(target)
    if (size > maxFileBytes) throw new Error('larger than 3 MB')
    const content = await readFile(target)
    if (['.p12', '.pfx'].includes(extname(file).toLowerCase())) {
      found.files.push({ name: file, pkcs12: content.toString('base64'), passphrase: found.passphrase })
    } else if (content.includes('-----BEGIN CERTIFICATE-----') || found.isNamed) {
      found.files.push({ name: file, pem: content.toString() })
    }
  } catch (error) {
    if (found.isNamed) throw new AppError('usage', `cannot read "${file}": ${messageOf(error)}`, { cause: error })
    found.skipped.push({ file, reason: messageOf(error) })
  }
}
