import type { App } from './app.ts'
import { backupJobKinds, createBackupJob, runDrillJob, verifyBackupJob } from './backup/backup-jobs.ts'
import { orderCertificate } from './certificates/order-certificate.ts'
import { renewalJobKind, renewCertificate } from './certificates/renew-certificate.ts'
import { issueJobKind } from './certificates/request-certificate.ts'
import { deployCertificate, deployJobKind } from './deploy/deploy-certificate.ts'
import { presentParts } from './host.ts'
import type { JobHandler } from './jobs/worker.ts'
import { notifyJobKind, sendNotification } from './notify/fan-out.ts'

/** Which function runs a job of which kind. */
export function jobHandlers({ certificates, deploy, host, notify, store }: App): Record<string, JobHandler> {
  return {
    [issueJobKind]: (run) => orderCertificate(certificates, run),
    [renewalJobKind]: (run) => renewCertificate(certificates, run),
    [deployJobKind]: (run) => deployCertificate(deploy, run),
    [notifyJobKind]: (run) => sendNotification(notify, run),
    [backupJobKinds.create]: (run) => createBackupJob(() => presentParts(host), store, run),
    [backupJobKinds.verify]: (run) => verifyBackupJob(presentParts(host), store, run),
    [backupJobKinds.drill]: (run) => runDrillJob(presentParts(host), store, run),
  }
}
