import { type Actor, audited } from '../audit/audit.ts'
import { AppError, isAppError } from '../core/app-error.ts'
import type { Clock } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { EnvelopePlace } from '../kek/envelope.ts'
import type { KekRegistry } from '../kek/registry.ts'
import { sealAccess } from '../kek/sealed-settings.ts'
import type { Store } from '../store/store.ts'
import type { Deployment, DeployTarget } from './collections.ts'
import type { DeployedCertificate, Deployer, TargetAccess, TargetKind } from './deploy.ts'

export interface DeployParts {
  store: Store
  kek: KekRegistry
  clock: Clock
  /** @throws AppError `usage` · `forbidden` the host's configuration does not allow it */
  openDeployer(access: TargetAccess): Promise<Deployer>
  /** A certificate with its key, out of its envelope. @throws AppError `not-found` */
  certificate(id: string): Promise<DeployedCertificate>
  /** @throws AppError `safe-mode` */
  requireAllowed(action: string): Promise<void>
}

export interface TargetInput {
  name: string
  kind: TargetKind
  settings: Record<string, string>
  secret: Secret
}

/** @throws AppError `usage` a setting · `forbidden` · `exists` */
export async function createTarget(parts: DeployParts, actor: Actor, input: TargetInput): Promise<DeployTarget> {
  const access = { settings: input.settings, secret: input.secret.reveal() }
  await parts.openDeployer({ kind: input.kind, ...access })
  const now = parts.clock.now()
  const id = newId(now.getTime())
  const { envelope, settings } = sealAccess(parts.kek, targetPlace(id), access)
  const target: DeployTarget = {
    _id: id,
    name: input.name,
    kind: input.kind,
    settings,
    encrypted_value: envelope,
    kek_version: parts.kek.activeVersion,
    created_at: now,
  }
  try {
    await parts.store.commit([
      { insert: 'deploy_targets', document: target },
      audited(actor, 'deploy-target.created', id, { name: input.name, kind: input.kind }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists'))
      throw new AppError('exists', `there is a deploy target "${input.name}" already`, { cause: error })
    throw error
  }
  return target
}

/** @throws AppError `not-found` */
export async function requireTarget(store: Store, idOrName: string): Promise<DeployTarget> {
  const byId = await store.get<DeployTarget>('deploy_targets', idOrName)
  const found = byId ?? (await store.find<DeployTarget>('deploy_targets', { where: { name: idOrName } })).items[0]
  if (found === undefined)
    throw new AppError('not-found', `there is no deploy target "${idOrName}"`, { hint: '"certautopilot deploy list" shows them' })
  return found
}

/** Forgets a target; what was deployed there stays there. @throws AppError `not-found` · `conflict` certificates use it */
export async function removeTarget(parts: DeployParts, actor: Actor, idOrName: string): Promise<void> {
  const target = await requireTarget(parts.store, idOrName)
  const count = await parts.store.count('deployments', { target_id: target._id })
  if (count > 0)
    throw new AppError('conflict', `${count} certificates are deployed to "${target.name}"`, { hint: 'detach them first' })
  await parts.store.commit([
    { remove: 'deploy_targets', id: target._id },
    audited(actor, 'deploy-target.removed', target._id, { name: target.name }),
  ])
}

export async function deploymentsOf(store: Store, certificateId: string): Promise<Deployment[]> {
  return (await store.find<Deployment>('deployments', { where: { certificate_id: certificateId }, limit: 500 })).items
}

export function targetPlace(recordId: string): EnvelopePlace {
  return { collection: 'deploy_targets', recordId, field: 'encrypted_value' }
}
