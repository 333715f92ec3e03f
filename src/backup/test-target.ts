import { randomUUID } from 'node:crypto'
import { AppError, messageOf } from '../core/app-error.ts'
import type { Target } from '../target/target.ts'
import { once } from './copy-to-targets.ts'
import type { BackupParts, TargetAccess } from './parts.ts'

export interface TargetProbe {
  place: string
  /** Bundles that are whole there. */
  bundles: number
  /** Whether this credential can remove what it wrote. */
  canRemove: boolean
  milliseconds: number
}

/** @throws AppError `not-found` */
export function requireTarget({ targets }: BackupParts, name: string): TargetAccess {
  const found = targets.find(({ location }) => location.name === name)
  if (found !== undefined) return found
  throw new AppError('not-found', `there is no target "${name}"`, { hint: '"certautopilot backup target list" shows them' })
}

/** Writes a small file, reads it, finds it in the list, and tries to remove it. @throws AppError `unreachable` · `forbidden` */
export async function testTarget(target: Target): Promise<TargetProbe> {
  const started = performance.now()
  const name = `certautopilot-probe-${randomUUID()}`
  const content = Buffer.from(`a test of this target: it may be removed\n${randomUUID()}\n`)
  await target.put(name, once(content))
  const parts: Buffer[] = []
  for await (const chunk of target.open(name)) parts.push(chunk)
  if (!Buffer.concat(parts).equals(content))
    throw new AppError('unreachable', `target "${target.name}" gives back something else than was written`)
  const files = await target.list()
  if (!files.some((file) => file.name === name))
    throw new AppError('unreachable', `target "${target.name}" does not list what was written`)
  const canRemove = await target.remove(name).then(
    () => true,
    (error) => {
      if (error instanceof AppError && error.code === 'forbidden') return false
      throw new AppError('unreachable', `target "${target.name}": ${messageOf(error)}`, { cause: error })
    },
  )
  const bundles = files.filter((file) => file.name.endsWith('.age.manifest.json')).length
  return { place: target.place, bundles, canRemove, milliseconds: performance.now() - started }
}
