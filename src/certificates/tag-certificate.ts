import { audited } from '../audit/audit.ts'
import { AppError } from '../core/app-error.ts'
import type { Store } from '../store/store.ts'
import type { Certificate } from './collections.ts'
import { searchText } from './describe.ts'
import { requireCertificate } from './list-certificates.ts'
import type { Request } from './parts.ts'

const maxTags = 20

/** Adds and removes tags. @throws AppError `not-found` · `usage` a tag, or too many · `conflict` it was changed meanwhile */
export async function tagCertificate(
  store: Store,
  request: Request,
  id: string,
  { add, remove }: { add: readonly string[]; remove: readonly string[] },
): Promise<Certificate> {
  const wrong = add.find((tag) => !/^[a-z0-9][a-z0-9._-]{0,31}$/.test(tag))
  if (wrong !== undefined)
    throw new AppError('usage', `"${wrong}" is no tag: use lower case letters, digits, dots, dashes and underscores`)
  const certificate = await requireCertificate(store, id)
  const tags = [...new Set([...(certificate.tags ?? []), ...add])].filter((tag) => !remove.includes(tag)).sort()
  if (tags.length > maxTags)
    throw new AppError('usage', `"${certificate.name}" would have ${tags.length} tags: ${maxTags} are enough`)
  const tagged: Certificate = { ...certificate, tags, search: searchText(tags, certificate.search) }
  await store.commit([
    { replace: 'certificates', document: tagged, expect: { serial: certificate.serial, status: certificate.status } },
    audited(request.actor, 'certificate.tagged', id, { name: certificate.name, project: certificate.project_id, tags }),
  ])
  return tagged
}
