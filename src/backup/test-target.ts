import { randomUUID } from 'node:crypto'
import { AppError, messageOf } from '../core/app-error.ts'
import { once } from '../core/chunks.ts'
import { prefixOf } from '../target/location.ts'
import {
  inOrder,
  probePrefix,
  type Target,
  type TargetInspection,
  type TargetLocation,
  type TargetRules,
} from '../target/target.ts'
import type { BackupParts, TargetAccess } from './parts.ts'

export interface TargetProbe {
  place: string
  /** Bundles that are whole there. */
  bundles: number
  /** Whether this credential can remove what it wrote. */
  canRemove: boolean
  /** About versions and locks; undefined where a target has neither. */
  inspection: TargetInspection | undefined
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
  const name = `${probePrefix}${randomUUID()}`
  const content = Buffer.from(`a test of this target: it may be removed\n${randomUUID()}\n`)
  await target.put(name, inOrder(once(content)))
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
  const inspection = await target.inspect?.()
  const bundles = files.filter((file) => file.name.endsWith('.age.manifest.json')).length
  return { place: target.place, bundles, canRemove, inspection, milliseconds: performance.now() - started }
}

/** What to look at in what a test of a target found, a line each. */
export function probeFindings({ canRemove, inspection }: TargetProbe, { lockMode }: TargetRules): string[] {
  const wantsLock = lockMode !== 'none'
  const findings: string[] = []
  if (canRemove && !inspection?.keepsVersions)
    findings.push(
      'this credential can remove what is there: whoever takes this host can remove the copies; one that may only add is safer',
    )
  if (inspection?.keepsVersions && inspection.canLock === false)
    findings.push('what is removed stays as a version, but nothing is locked: whoever may remove versions can remove the copies')
  if (wantsLock && inspection?.canLock === false)
    findings.push(
      'lock_mode is set, but nothing can be locked there: make a bucket with object lock, or a container with version-level immutability',
    )
  if (wantsLock && inspection?.canLock === 'forbidden')
    findings.push('lock_mode is set, but this credential may not lock (s3:PutObjectRetention): copies will be refused')
  if (inspection?.canBypassLock)
    findings.push(
      `this credential can remove what is locked under governance${lockMode === 'compliance' ? ', though nothing under compliance' : ': take that right away (s3:BypassGovernanceRetention), or set lock_mode=compliance'}`,
    )
  return findings
}

/**
 * Rules for a place whose credential may only add: what no tier keeps any more is removed, versions too, as soon as their locks end.
 * The form is that of `aws s3api put-bucket-lifecycle-configuration`, or of `az storage account management-policy create`.
 * @returns undefined where there are none
 */
export function lifecycleRules(location: TargetLocation): object | undefined {
  const { daily, weekly, monthly } = location.rules
  const days = Math.max(1, daily, weekly * 7, monthly * 31) + 1
  if (location.url.protocol === 's3:') return bucketRules(prefixOf(location.url), days)
  return location.url.protocol === 'azure-blob:' ? accountRules(prefixOf(location.url), days) : undefined
}

function bucketRules(prefix: string, days: number): object {
  const Filter = { Prefix: prefix }
  return {
    Rules: [
      {
        ID: 'certautopilot-bundles',
        Status: 'Enabled',
        Filter,
        Expiration: { Days: days },
        NoncurrentVersionExpiration: { NoncurrentDays: 7 },
      },
      { ID: 'certautopilot-markers', Status: 'Enabled', Filter, Expiration: { ExpiredObjectDeleteMarker: true } },
      { ID: 'certautopilot-half-uploads', Status: 'Enabled', Filter, AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 } },
    ],
  }
}

/** @param prefix begins with the container */
function accountRules(prefix: string, days: number): object {
  const definition = {
    filters: { blobTypes: ['blockBlob'], prefixMatch: [prefix] },
    actions: {
      baseBlob: { delete: { daysAfterModificationGreaterThan: days } },
      version: { delete: { daysAfterCreationGreaterThan: days + 7 } },
    },
  }
  return { rules: [{ enabled: true, name: 'certautopilot-bundles', type: 'Lifecycle', definition }] }
}
