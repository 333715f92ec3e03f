import { readFile } from 'node:fs/promises'
import { parseDocument } from 'yaml'
import { AppError, systemCodeOf } from '../../core/app-error.ts'
import { publishFile } from './files.ts'

/** Writes `backup.recipients` into `config.yaml`, and leaves everything else in it as it is. @throws AppError `config` it is no YAML */
export async function writeRecipients(path: string, recipients: readonly string[]): Promise<void> {
  const content = await readFile(path, 'utf8').catch((error) => {
    if (systemCodeOf(error) === 'ENOENT') return ''
    throw error
  })
  const document = parseDocument(content)
  const problem = document.errors[0]
  if (problem !== undefined) throw new AppError('config', `${path}: ${problem.message}`)
  document.setIn(['backup', 'recipients'], recipients)
  await publishFile(path, document.toString())
}
