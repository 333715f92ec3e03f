import { accessRoutes } from './access.ts'
import { acmeRoutes } from './acme.ts'
import { auditRoutes } from './audit.ts'
import { authorityRoutes } from './authorities.ts'
import { backupRoutes } from './backups.ts'
import { certificateRoutes } from './certificate.ts'
import { certificatesRoutes } from './certificates.ts'
import { clusterRoutes } from './cluster.ts'
import { deployRoutes } from './deploy.ts'
import { dnsCredentialRoutes } from './dns-credentials.ts'
import { jobRoutes } from './jobs.ts'
import { notifyRoutes } from './notify.ts'
import { openApiRoutes } from './openapi.ts'
import { overviewRoutes } from './overview.ts'
import { projectRoutes } from './projects.ts'
import type { Route } from './route.ts'
import { sessionRoutes } from './sessions.ts'
import { statusRoutes } from './status.ts'
import { targetRoutes } from './targets.ts'

const resourceRoutes: Route[] = [
  ...statusRoutes,
  ...overviewRoutes,
  ...clusterRoutes,
  ...sessionRoutes,
  ...accessRoutes,
  ...projectRoutes,
  ...authorityRoutes,
  ...acmeRoutes,
  ...dnsCredentialRoutes,
  ...certificatesRoutes,
  ...certificateRoutes,
  ...deployRoutes,
  ...notifyRoutes,
  ...jobRoutes,
  ...auditRoutes,
  ...backupRoutes,
  ...targetRoutes,
]

/** Every route of the service. */
export const allRoutes: Route[] = [...resourceRoutes, ...openApiRoutes(resourceRoutes)]
