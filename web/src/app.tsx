import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense } from 'react'
import { Route, Switch } from 'wouter'
import { get, Problem } from './api.ts'
import { LoginPage } from './pages/login.tsx'
import { NotFoundPage } from './pages/not-found.tsx'
import { OverviewPage } from './pages/overview.tsx'
import { Frame } from './parts/frame.tsx'
import { Failure, Waiting } from './parts/states.tsx'
import type { User } from './types.ts'

const SetupPage = lazy(() => import('./pages/setup.tsx').then((page) => ({ default: page.SetupPage })))
/** The page that is opened most often after the overview is fetched beside the first request, not after it. */
const certificates = location.pathname === '/certificates' ? import('./pages/certificates.tsx') : undefined
const CertificatesPage = lazy(async () => ({
  default: (await (certificates ?? import('./pages/certificates.tsx'))).CertificatesPage,
}))
const CertificatePage = lazy(() => import('./pages/certificate.tsx').then((page) => ({ default: page.CertificatePage })))
const IssuePage = lazy(() => import('./pages/issue.tsx').then((page) => ({ default: page.IssuePage })))
const JobsPage = lazy(() => import('./pages/jobs.tsx').then((page) => ({ default: page.JobsPage })))
const JobPage = lazy(() => import('./pages/job.tsx').then((page) => ({ default: page.JobPage })))
const BackupsPage = lazy(() => import('./pages/backups.tsx').then((page) => ({ default: page.BackupsPage })))
const IssuersPage = lazy(() => import('./pages/issuers.tsx').then((page) => ({ default: page.IssuersPage })))
const DeployPage = lazy(() => import('./pages/deploy.tsx').then((page) => ({ default: page.DeployPage })))
const NotifyPage = lazy(() => import('./pages/notify.tsx').then((page) => ({ default: page.NotifyPage })))
const RecoveryKitPage = lazy(() => import('./pages/recovery-kit.tsx').then((page) => ({ default: page.RecoveryKitPage })))
const AuditPage = lazy(() => import('./pages/audit.tsx').then((page) => ({ default: page.AuditPage })))
const SettingsPage = lazy(() => import('./pages/settings.tsx').then((page) => ({ default: page.SettingsPage })))

export function App() {
  const me = useQuery({ queryKey: ['me'], queryFn: currentUser })
  const setup = useQuery({ queryKey: ['setup'], queryFn: () => get<{ is_set_up: boolean }>('/setup'), enabled: me.data === null })
  if (setup.isError) return <Failure error={setup.error} retry={setup.refetch} />
  if (setup.data?.is_set_up === false)
    return (
      <Suspense fallback={<Waiting rows={4} />}>
        <SetupPage />
      </Suspense>
    )
  if (me.isError) return <Failure error={me.error} retry={me.refetch} />
  if (me.data === undefined) return null
  if (me.data === null) return setup.data ? <LoginPage /> : null
  return (
    <Frame user={me.data}>
      <Suspense fallback={<Waiting rows={6} />}>
        <Switch>
          <Route path="/" component={OverviewPage} />
          <Route path="/certificates" component={CertificatesPage} />
          <Route path="/certificates/new" component={IssuePage} />
          <Route path="/certificates/:id">{({ id }) => <CertificatePage id={id} />}</Route>
          <Route path="/jobs" component={JobsPage} />
          <Route path="/jobs/:id">{({ id }) => <JobPage id={id} />}</Route>
          <Route path="/backups" component={BackupsPage} />
          <Route path="/issuers" component={IssuersPage} />
          <Route path="/deploy" component={DeployPage} />
          <Route path="/notify" component={NotifyPage} />
          <Route path="/recovery-kit" component={RecoveryKitPage} />
          <Route path="/audit" component={AuditPage} />
          <Route path="/settings" component={SettingsPage} />
          <Route component={NotFoundPage} />
        </Switch>
      </Suspense>
    </Frame>
  )
}

async function currentUser(): Promise<User | null> {
  try {
    return await get<User>('/auth/me')
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error
    return refreshed()
  }
}

async function refreshed(): Promise<User | null> {
  const reply = await fetch('/api/v1/auth/refresh', { method: 'POST' })
  return reply.ok ? ((await reply.json()) as User) : null
}
