import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { TokenCredential } from '@azure/identity'
import { BlobServiceClient, type ContainerClient, RestError, StorageSharedKeyCredential } from '@azure/storage-blob'
import { AppError, messageOf } from '../../core/app-error.ts'
import { grouped } from '../../core/chunks.ts'
import { minuteMs } from '../../core/clock.ts'
import { within } from '../../core/within.ts'
import { withoutSilence } from '../idle.ts'
import {
  type Content,
  probePrefix,
  type Target,
  type TargetInspection,
  type TargetLocation,
  type TargetSecrets,
} from '../target.ts'

/** 50,000 blocks of this make 390 GiB. */
const blockBytes = 8 * 1024 * 1024

/**
 * A container of Azure Blob Storage: `azure-blob://ACCOUNT/CONTAINER/FOLDER`. Blocks are seen by nobody until the list that names them is
 * committed; an immutability policy is set by that same call.
 */
export async function openAzureTarget(location: TargetLocation, secrets: TargetSecrets): Promise<Target> {
  return new AzureTarget(location, await serviceOf(location, secrets))
}

class AzureTarget implements Target {
  readonly name: string
  readonly place: string
  readonly #location: TargetLocation
  readonly #container: ContainerClient
  readonly #prefix: string

  constructor(location: TargetLocation, service: BlobServiceClient) {
    const { name, url } = location
    const [container = '', ...folders] = decodeURIComponent(url.pathname).split('/').filter(Boolean)
    this.name = name
    this.#location = location
    this.#prefix = folders.length === 0 ? '' : `${folders.join('/')}/`
    this.place = `azure-blob://${url.hostname}/${container}/${this.#prefix}`
    this.#container = service.getContainerClient(container)
  }

  async put(name: string, { head, body, signal }: Content, lockedUntil?: Date): Promise<void> {
    const blob = this.#container.getBlockBlobClient(this.#prefix + name)
    const ids: string[] = []
    const given = signal === undefined ? {} : { abortSignal: signal }
    const stage = async (number: number, block: Buffer) => {
      const id = Buffer.from(String(number).padStart(6, '0')).toString('base64')
      await blob.stageBlock(id, block, block.length, given)
      return id
    }
    try {
      for await (const block of grouped(body, blockBytes)) ids.push(await stage(ids.length + 1, block))
      const start = await head
      if (start.length > 0) ids.unshift(await stage(0, start))
      await blob.commitBlockList(ids, {
        ...given,
        ...(lockedUntil === undefined ? {} : { immutabilityPolicy: this.#policy(lockedUntil) }),
      })
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async list(): Promise<{ name: string; bytes: number }[]> {
    const found: { name: string; bytes: number }[] = []
    try {
      for await (const { name, properties } of this.#container.listBlobsFlat({ prefix: this.#prefix }))
        found.push({ name: name.slice(this.#prefix.length), bytes: properties.contentLength ?? 0 })
      return found.filter(({ name }) => !name.includes('/'))
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async *open(name: string): AsyncGenerator<Buffer> {
    try {
      const { readableStreamBody } = await this.#container.getBlobClient(this.#prefix + name).download()
      const body = readableStreamBody as Readable
      const where = `target "${this.name}" (${this.place})`
      yield* withoutSilence(body, { where, silenceMs: this.#location.silenceMs, close: () => body.destroy() })
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async remove(name: string): Promise<void> {
    try {
      await this.#container.getBlobClient(this.#prefix + name).deleteIfExists()
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async extendLock(name: string, until: Date): Promise<void> {
    const blob = this.#container.getBlobClient(this.#prefix + name)
    try {
      const { immutabilityPolicyExpiresOn: now } = await blob.getProperties()
      if ((now?.getTime() ?? 0) < Math.floor(until.getTime() / 1000) * 1000) await blob.setImmutabilityPolicy(this.#policy(until))
    } catch (error) {
      throw this.#failure(error)
    }
  }

  /** Locks a small file for a minute, unlocks it again where that is allowed, and tries to remove it. */
  async inspect(): Promise<TargetInspection> {
    const blob = this.#container.getBlockBlobClient(`${this.#prefix}${probePrefix}lock-${randomUUID()}`)
    const body = 'locked for a minute by a test of this target\n'
    const immutabilityPolicy = { expiriesOn: new Date(Date.now() + minuteMs), policyMode: 'Unlocked' } as const
    const locked = await blob.upload(body, body.length, { immutabilityPolicy }).catch((error: RestError) => error)
    if (locked instanceof Error) {
      const canLock = locked.statusCode === 403 ? ('forbidden' as const) : false
      const plain = await blob.upload(body, body.length).catch(() => undefined)
      await blob.deleteIfExists().catch(() => {})
      return { keepsVersions: plain?.versionId !== undefined, canLock, canBypassLock: undefined }
    }
    const canBypassLock = await blob.deleteImmutabilityPolicy().then(
      () => true,
      () => false,
    )
    await blob.deleteIfExists().catch(() => {})
    return { keepsVersions: locked.versionId !== undefined, canLock: true, canBypassLock }
  }

  #policy(expiriesOn: Date): { expiriesOn: Date; policyMode: 'Locked' | 'Unlocked' } {
    return { expiriesOn, policyMode: this.#location.rules.lockMode === 'compliance' ? 'Locked' : 'Unlocked' }
  }

  #failure(error: unknown): unknown {
    if (error instanceof AppError || !(error instanceof Error)) return error
    const { statusCode = 0, code = '' } = error instanceof RestError ? error : {}
    const where = `target "${this.name}" (${this.place})`
    if (error.name === 'AuthenticationError')
      return new AppError('config', `${where}: the identity of the platform was refused: ${messageOf(error)}`, { cause: error })
    if (/^(CredentialUnavailable|AggregateAuthentication)Error$/.test(error.name))
      return new AppError('config', `${where} has neither ACCOUNT_KEY nor SAS_TOKEN, and the platform gives it no identity`, {
        hint: 'put one of them into targets.env, or give this host a managed identity that may write blobs',
        cause: error,
      })
    if (code === 'BlobNotFound') return new AppError('not-found', `there is no such bundle at ${where}`, { cause: error })
    if (statusCode === 403 || code === 'BlobImmutableDueToPolicy' || code === 'BlobImmutableDueToLegalHold')
      return new AppError('forbidden', `${where} refuses this: ${code}`, {
        hint: 'a policy holds the blob, or the credential in targets.env lacks the right',
        cause: error,
      })
    return new AppError('unreachable', `${where}: ${code || messageOf(error)}`, {
      hint: code === 'ContainerNotFound' ? 'make the container first' : 'look at the account, the endpoint and targets.env',
      cause: error,
    })
  }
}

const maxTries = 3
/** The library limits a whole try, not silence: a block needs its time on a slow line. */
const blockPatience = 5

async function serviceOf({ url, silenceMs }: TargetLocation, secrets: TargetSecrets): Promise<BlobServiceClient> {
  const options = { retryOptions: { tryTimeoutInMs: silenceMs * blockPatience, maxTries } }
  const endpoint = url.searchParams.get('endpoint') ?? `https://${url.hostname}.blob.core.windows.net`
  const [key, sas] = [secrets('ACCOUNT_KEY'), secrets('SAS_TOKEN')]
  if (key !== undefined) return new BlobServiceClient(endpoint, new StorageSharedKeyCredential(url.hostname, key), options)
  if (sas !== undefined) return new BlobServiceClient(`${endpoint}?${sas.replace(/^\?/, '')}`, undefined, options)
  return new BlobServiceClient(endpoint, withinPatience(await platformIdentity(secrets('CLIENT_ID')), silenceMs), options)
}

/** The identity of the pod or the machine; where none is named, first what the environment of this process says. @param clientId which of several */
async function platformIdentity(clientId: string | undefined): Promise<TokenCredential> {
  const { ChainedTokenCredential, EnvironmentCredential, ManagedIdentityCredential, WorkloadIdentityCredential } = await import(
    '@azure/identity'
  )
  const given = clientId === undefined ? {} : { clientId }
  const ofPod = () => {
    try {
      return [new WorkloadIdentityCredential(given)]
    } catch {
      // It is no pod with an identity.
      return []
    }
  }
  const ofEnvironment = clientId === undefined ? [new EnvironmentCredential()] : []
  return new ChainedTokenCredential(...ofEnvironment, ...ofPod(), new ManagedIdentityCredential(given))
}

/** Where there is no platform to ask, the library asks for minutes. */
function withinPatience(credential: TokenCredential, silenceMs: number): TokenCredential {
  const unanswered = () => Object.assign(new Error('the platform did not answer'), { name: 'CredentialUnavailableError' })
  return { getToken: (scopes, options) => within(silenceMs, credential.getToken(scopes, options), unanswered) }
}
