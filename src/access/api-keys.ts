import { audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import { newId } from '../core/ids.ts'
import { Secret } from '../core/secret.ts'
import { type AccessParts, newToken, tokenHash } from './access.ts'
import type { ApiKey } from './collections.ts'
import { type Caller, type Role, requireGrantable } from './roles.ts'

/** Makes a key: `cap_` and 52 characters, returned here and never again. @throws AppError `forbidden` */
export async function createApiKey(
  parts: AccessParts,
  caller: Caller,
  input: { name: string; role: Role; projectId?: string | undefined },
): Promise<{ apiKey: ApiKey; key: Secret }> {
  requireGrantable(caller, input.role)
  const key = `cap_${newToken()}`
  const apiKey: ApiKey = {
    _id: newId(),
    name: input.name,
    role: input.role,
    project_id: input.projectId ?? '',
    prefix: key.slice(0, 10),
    key_hash: tokenHash(parts.apiKeyPepper, key),
    created_by: caller.actor.name,
    created_at: parts.clock.now(),
    revoked_at: null,
  }
  await parts.store.commit([
    { insert: 'api_keys', document: apiKey },
    audited(caller.actor, 'api-key.created', apiKey._id, { name: input.name, role: input.role, project: apiKey.project_id }),
  ])
  return { apiKey, key: new Secret(key) }
}

/** @throws AppError `not-found` */
export async function revokeApiKey(parts: AccessParts, caller: Caller, id: string): Promise<ApiKey> {
  const apiKey = await parts.store.get<ApiKey>('api_keys', id)
  if (apiKey === undefined) throw new AppError('not-found', `there is no API key "${id}"`)
  const revoked = { ...apiKey, revoked_at: parts.clock.now() }
  await parts.store.commit([{ replace: 'api_keys', document: revoked }, audited(caller.actor, 'api-key.revoked', id)])
  return revoked
}

/** @throws AppError `unauthenticated` */
export async function authenticateApiKey(parts: AccessParts, key: string): Promise<Caller> {
  const { items } = await parts.store.find<ApiKey>('api_keys', { where: { key_hash: tokenHash(parts.apiKeyPepper, key) } })
  const apiKey = items[0]
  if (apiKey === undefined || apiKey.revoked_at !== null) throw new AppError('unauthenticated', 'the API key is unknown or revoked')
  const actor = { kind: 'api-key', id: apiKey._id, name: apiKey.name } as const
  return { actor, role: apiKey.role, projectId: apiKey.project_id || undefined }
}
