import { type Actor, audited, systemActor } from '../audit/audit.ts'
import { AppError, isAppError, messageOf } from '../core/app-error.ts'
import { minuteMs, sleep } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import { type Job, queuedJob } from '../jobs/job.ts'
import { dropLease, holdLease } from '../jobs/lease.ts'
import type { JobRun } from '../jobs/worker.ts'
import { openAccess } from '../kek/sealed-settings.ts'
import type { Change } from '../store/store.ts'
import type { Deployment, DeployTarget } from './collections.ts'
import { type DeployParts, deploymentsOf, requireTarget, targetPlace } from './targets.ts'

export const deployJobKind = 'certificate.deploy'

/** From now on a certificate is put in use at a target, now and after each renewal. @throws AppError `not-found` · `exists` · `safe-mode` */
export async function attachTarget(
  parts: DeployParts,
  actor: Actor,
  input: { certificateId: string; target: string },
): Promise<{ deployment: Deployment; job: Job }> {
  await parts.requireAllowed('deploy a certificate')
  const target = await requireTarget(parts.store, input.target)
  const certificate = await parts.certificate(input.certificateId)
  const now = parts.clock.now()
  const deployment: Deployment = {
    _id: newId(now.getTime()),
    certificate_id: certificate.id,
    target_id: target._id,
    fingerprint: '',
    deployed_at: null,
    error: '',
    created_at: now,
  }
  const { job, change } = queuedJob(deployJobKind, deployment._id, actor, now)
  try {
    await parts.store.commit([
      { insert: 'deployments', document: deployment },
      change,
      audited(actor, 'deployment.attached', certificate.id, { name: certificate.name, target: target.name }),
    ])
  } catch (error) {
    if (isAppError(error, 'exists'))
      throw new AppError('exists', `"${certificate.name}" is deployed to "${target.name}" already`, { cause: error })
    throw error
  }
  return { deployment, job }
}

/** What was deployed stays where it is; renewals do not go there any more. @throws AppError `not-found` */
export async function detachTarget(parts: DeployParts, actor: Actor, deploymentId: string): Promise<void> {
  const deployment = await requireDeployment(parts, deploymentId)
  await parts.store.commit([
    { remove: 'deployments', id: deployment._id },
    audited(actor, 'deployment.detached', deployment.certificate_id, { target: deployment.target_id }),
  ])
}

/** Jobs that put a renewed certificate in use wherever it is used; committed with the renewal. */
export async function deployAfterRenewal({ store, clock }: DeployParts, certificateId: string): Promise<Change[]> {
  const deployments = await deploymentsOf(store, certificateId)
  return deployments.map(({ _id }) => queuedJob(deployJobKind, _id, systemActor, clock.now()).change)
}

/** The handler of `certificate.deploy`. */
export async function deployCertificate(parts: DeployParts, run: JobRun): Promise<void> {
  await parts.requireAllowed('deploy a certificate')
  const deployment = await requireDeployment(parts, run.job.subject)
  const target = await requireTarget(parts.store, deployment.target_id)
  await holdTarget(parts, target, run)
  const certificate = await parts.certificate(deployment.certificate_id)
  const access = openAccess(parts.kek, targetPlace(target._id), target.encrypted_value)
  const data = { name: certificate.name, target: target.name, fingerprint: certificate.fingerprint }
  await run.step(`deploying "${certificate.name}" to "${target.name}"`)
  try {
    const deployer = await parts.openDeployer({ kind: target.kind, ...access })
    await deployer.deploy(certificate, `${deployment._id} ${certificate.fingerprint}`, run.step, run.signal)
  } catch (error) {
    await dropLease(parts.store, leaseOf(target), run.job._id).catch(() => {})
    if (run.signal.aborted) throw error
    await parts.store.commit([
      { replace: 'deployments', document: { ...deployment, error: messageOf(error) } as Deployment },
      audited(run.job.requested_by, 'certificate.deploy-failed', deployment.certificate_id, { ...data, error: messageOf(error) }),
    ])
    throw error
  }
  const deployed: Deployment = { ...deployment, fingerprint: certificate.fingerprint, deployed_at: parts.clock.now(), error: '' }
  await dropLease(parts.store, leaseOf(target), run.job._id)
  await run.finish([
    { replace: 'deployments', document: deployed },
    audited(run.job.requested_by, 'certificate.deployed', deployment.certificate_id, data),
  ])
}

const leaseMs = 5 * minuteMs
const leaseTries = 40

/** Two jobs at one place would write over each other. @throws AppError `locked` another job is at it; it is tried again */
async function holdTarget({ store, clock }: DeployParts, target: DeployTarget, run: JobRun): Promise<void> {
  for (let tries = 0; tries < leaseTries; tries++) {
    if (await holdLease(store, leaseOf(target), run.job._id, clock.now(), leaseMs)) return
    await sleep(250, run.signal)
  }
  throw new AppError('locked', `another job deploys to "${target.name}"`)
}

function leaseOf({ _id }: DeployTarget): string {
  return `deploy ${_id}`
}

async function requireDeployment({ store }: DeployParts, id: string): Promise<Deployment> {
  const deployment = await store.get<Deployment>('deployments', id)
  if (deployment === undefined) throw new AppError('not-found', `there is no deployment "${id}"`)
  return deployment
}
