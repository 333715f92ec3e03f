import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { stringify } from 'yaml'
import { newToken } from './access/access.ts'
import { publishFile } from './backup/host/files.ts'
import { recoveryKit } from './backup/recovery-kit.ts'
import { newIdentity } from './bundle/age-keys.ts'
import { newSigningKey, signerOf } from './bundle/manifest.ts'
import { formatEnvFile, parseEnvFile } from './config/env-file.ts'
import type { Paths } from './config/paths.ts'
import { installationIdName, kekPrefix, secretNames } from './config/secrets.ts'
import { AppError } from './core/app-error.ts'
import { Secret } from './core/secret.ts'
import { appVersion } from './host.ts'

export interface HomeReport {
  /** Files that were made; the others were there and stay as they are. */
  made: string[]
  kept: string[]
}

/** Makes the home folder of an installation: secrets, configuration and recovery kit. Completes what is missing, changes nothing that is there. */
export async function setUpHome(
  paths: Paths,
  settings: { databaseUri?: string | undefined; port?: number | undefined } = {},
): Promise<HomeReport> {
  const report: HomeReport = { made: [], kept: [] }
  if (existsSync(paths.recoveryKit) && !existsSync(paths.config)) {
    throw new AppError('exists', `"${paths.recoveryKit}" is a recovery kit already, and there is no "${paths.config}"`, {
      hint: 'to restore, run "restore apply BUNDLE --identity KIT"; to start afresh, move the kit to a safe place first',
    })
  }
  await mkdir(paths.home, { recursive: true, mode: 0o700 })
  await chmod(paths.home, 0o700)
  const secrets = await completeSecrets(paths.secrets, settings.databaseUri, report)
  if (existsSync(paths.config)) {
    report.kept.push(paths.config)
    return report
  }
  const { identity, recipient } = await newIdentity()
  const kit = recoveryKit({
    installationId: secrets.get(installationIdName) as string,
    recipient,
    signer: signerOf(new Secret(secrets.get(secretNames.signingKey) as string)),
    identity,
    isProtected: false,
    appVersion,
    targets: [],
  })
  await publishFile(paths.recoveryKit, kit)
  await publishFile(paths.config, configText(recipient, settings.port))
  report.made.push(paths.recoveryKit, paths.config)
  return report
}

async function completeSecrets(path: string, databaseUri: string | undefined, report: HomeReport): Promise<Map<string, string>> {
  const values = existsSync(path) ? parseEnvFile(await readFile(path, 'utf8'), path) : new Map<string, string>()
  const before = values.size
  const hasKek = [...values.keys()].some((name) => name.startsWith(kekPrefix))
  const fresh: [string, () => string][] = [
    [installationIdName, () => randomUUID()],
    [secretNames.jwtSecret, newToken],
    [secretNames.apiKeyPepper, newToken],
    [secretNames.auditSecret, newToken],
    [secretNames.drillPassword, newToken],
    [secretNames.signingKey, () => newSigningKey().reveal()],
  ]
  if (!hasKek) values.set(`${kekPrefix}1`, randomBytes(32).toString('hex'))
  for (const [name, make] of fresh) if (!values.has(name)) values.set(name, make())
  if (databaseUri !== undefined) values.set(secretNames.databaseUri, databaseUri)
  if (values.size === before) report.kept.push(path)
  else {
    await publishFile(
      path,
      formatEnvFile(values, 'secrets of CertAutopilot: without this file the database cannot be read; keep it 0600'),
    )
    report.made.push(path)
  }
  return values
}

function configText(recipient: string, port: number | undefined): string {
  const config = { ...(port === undefined ? {} : { server: { port } }), backup: { seal: 'age', recipients: [recipient] } }
  return `# Settings of CertAutopilot. "certautopilot config show" lists all of them with their defaults.\n${stringify(config)}`
}
