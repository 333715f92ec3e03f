import { AppError } from '../core/app-error.ts'
import { Secret } from '../core/secret.ts'

/** Everything secret that the service runs with. A value that is missing is `undefined`; what needs it says so. */
export interface Secrets {
  /** KEK bytes as hex, by version. Checked where the key provider is made. */
  readonly keks: ReadonlyMap<number, Secret>
  readonly jwtSecret: Secret | undefined
  readonly apiKeyPepper: Secret | undefined
  readonly auditSecret: Secret | undefined
  readonly drillPassword: Secret | undefined
  /** Ed25519 private key (PKCS#8 DER, base64): signs manifests and drill reports. */
  readonly signingKey: Secret | undefined
  readonly databaseUri: Secret | undefined
  /** Not secret, but it travels with the keys: tells whose they are. */
  readonly installationId: string | undefined
}

export const kekPrefix = 'CERTAUTOPILOT_ENCRYPTION_ENV_KEK_V'

export const secretNames = {
  jwtSecret: 'CERTAUTOPILOT_JWT_SECRET',
  apiKeyPepper: 'CERTAUTOPILOT_API_KEY_PEPPER',
  auditSecret: 'CERTAUTOPILOT_AUDIT_SECRET',
  drillPassword: 'CERTAUTOPILOT_DRILL_PASSWORD',
  signingKey: 'CERTAUTOPILOT_SIGNING_KEY',
  databaseUri: 'CERTAUTOPILOT_DATABASE_URI',
} as const

export const installationIdName = 'CERTAUTOPILOT_INSTALLATION_ID'

/** Belong to this host: a restore does not take them from a bundle. */
export const hostBoundSecretNames: readonly string[] = [secretNames.databaseUri]

export function isSecretName(name: string): boolean {
  return name.startsWith(kekPrefix) || name === installationIdName || (Object.values(secretNames) as string[]).includes(name)
}

/** @throws AppError `config` a KEK variable whose version is no number */
export function secretsFrom(values: ReadonlyMap<string, string>): Secrets {
  const secret = (name: string) => {
    const value = values.get(name)
    return value === undefined || value === '' ? undefined : new Secret(value)
  }
  return Object.freeze({
    keks: keksFrom(values),
    jwtSecret: secret(secretNames.jwtSecret),
    apiKeyPepper: secret(secretNames.apiKeyPepper),
    auditSecret: secret(secretNames.auditSecret),
    drillPassword: secret(secretNames.drillPassword),
    signingKey: secret(secretNames.signingKey),
    databaseUri: secret(secretNames.databaseUri),
    installationId: values.get(installationIdName),
  })
}

/** @throws AppError `config` naming what is missing */
export function requiredSecret(secrets: Secrets, key: keyof typeof secretNames): Secret {
  const value = secrets[key]
  if (value === undefined) {
    throw new AppError('config', `"${secretNames[key]}" is missing`, {
      hint: 'it belongs in secrets.env; "certautopilot setup" makes one',
    })
  }
  return value
}

function keksFrom(values: ReadonlyMap<string, string>): Map<number, Secret> {
  const keks = new Map<number, Secret>()
  for (const [name, value] of values) {
    if (!name.startsWith(kekPrefix)) continue
    const version = name.slice(kekPrefix.length)
    if (!/^[1-9]\d{0,5}$/.test(version))
      throw new AppError('config', `"${name}" is not a KEK version: expected ${kekPrefix}1, ${kekPrefix}2, ...`)
    keks.set(Number(version), new Secret(value))
  }
  return keks
}
