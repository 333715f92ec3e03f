import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectRetentionCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { AppError, messageOf } from '../../core/app-error.ts'
import { cut, startingWith } from '../../core/chunks.ts'
import { minuteMs } from '../../core/clock.ts'
import { withoutSilence } from '../idle.ts'
import { prefixOf } from '../location.ts'
import {
  type Content,
  type FileVersion,
  probePrefix,
  type Target,
  type TargetInspection,
  type TargetLocation,
  type TargetSecrets,
} from '../target.ts'
import { putParts } from './put-parts.ts'

/** S3 wants 5 MiB at least, and others that all are the same size; 10,000 of these make 78 GiB. */
const partBytes = 8 * 1024 * 1024
const maxAttempts = 5

/** A bucket of S3 or of anything that speaks it. Uploads are whole or not there; a lock is set with the upload itself. */
export function openS3Target(location: TargetLocation, secrets: TargetSecrets): Target {
  return new S3Target(location, secrets)
}

class S3Target implements Target {
  readonly name: string
  readonly place: string
  readonly #location: TargetLocation
  readonly #client: S3Client
  readonly #bucket: string
  readonly #prefix: string

  constructor(location: TargetLocation, secrets: TargetSecrets) {
    const { name, url } = location
    this.name = name
    this.#location = location
    this.#bucket = url.hostname
    this.#prefix = prefixOf(url)
    this.place = `s3://${this.#bucket}/${this.#prefix}`
    const endpoint = url.searchParams.get('endpoint')
    const accessKeyId = secrets('ACCESS_KEY_ID')
    const secretAccessKey = secrets('SECRET_ACCESS_KEY')
    const sessionToken = secrets('SESSION_TOKEN')
    this.#client = new S3Client({
      region: url.searchParams.get('region') ?? 'us-east-1',
      maxAttempts,
      requestHandler: {
        connectionTimeout: location.silenceMs,
        socketTimeout: location.silenceMs,
      },
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
      ...(accessKeyId === undefined || secretAccessKey === undefined
        ? {}
        : { credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) } }),
    })
  }

  /** The first part begins with the head, so it is kept and sent last. */
  async put(name: string, content: Content, lockedUntil?: Date): Promise<void> {
    const lock = lockedUntil === undefined ? {} : { ObjectLockMode: this.#lockMode(), ObjectLockRetainUntilDate: lockedUntil }
    const stored = { ...this.#at(name), ...this.#extras(), ...lock, ChecksumAlgorithm: 'SHA256' } as const
    const parts = cut(content.body, partBytes, partBytes - (content.headBytes % partBytes))
    const request = content.signal === undefined ? {} : { abortSignal: content.signal }
    try {
      const first = (await parts.next()).value ?? Buffer.alloc(0)
      const second = await parts.next()
      const start = async () => Buffer.concat([await content.head, first])
      if (second.done) await this.#client.send(new PutObjectCommand({ ...stored, Body: await start() }), request)
      else await putParts(this.#client, stored, { start, following: startingWith(second.value, parts), request })
    } catch (error) {
      throw this.#failure(error)
    } finally {
      await parts.return(undefined)
    }
  }

  async list(): Promise<{ name: string; bytes: number }[]> {
    const found: { name: string; bytes: number }[] = []
    for (let token: string | undefined; ; ) {
      const page = await this.#translated(
        this.#client.send(
          new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: this.#prefix, Delimiter: '/', ContinuationToken: token }),
        ),
      )
      for (const { Key = '', Size = 0 } of page.Contents ?? []) found.push({ name: Key.slice(this.#prefix.length), bytes: Size })
      token = page.NextContinuationToken
      if (token === undefined) return found
    }
  }

  async *open(name: string, version?: string): AsyncGenerator<Buffer> {
    const at = { ...this.#at(name), ...(version === undefined ? {} : { VersionId: version }) }
    const { Body } = await this.#translated(this.#client.send(new GetObjectCommand(at)))
    const body = Body as Readable
    try {
      yield* withoutSilence(body, { ...this.#patience(), close: () => body.destroy() })
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async remove(name: string): Promise<void> {
    await this.#translated(this.#client.send(new DeleteObjectCommand(this.#at(name))))
  }

  async versions(): Promise<FileVersion[]> {
    const found: FileVersion[] = []
    for (let after: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } = {}; ; ) {
      const command = new ListObjectVersionsCommand({ Bucket: this.#bucket, Prefix: this.#prefix, Delimiter: '/', ...after })
      const page = await this.#translated(this.#client.send(command))
      for (const { Key = '', VersionId = '', Size = 0, IsLatest = false } of page.Versions ?? [])
        found.push({ name: Key.slice(this.#prefix.length), bytes: Size, version: VersionId, isCurrent: IsLatest })
      if (!page.IsTruncated) return found
      after = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
    }
  }

  async extendLock(name: string, until: Date): Promise<void> {
    const now = await this.#client.send(new GetObjectRetentionCommand(this.#at(name))).catch(() => undefined)
    if ((now?.Retention?.RetainUntilDate?.getTime() ?? 0) >= Math.floor(until.getTime() / 1000) * 1000) return
    const retention = { Mode: this.#lockMode(), RetainUntilDate: until }
    await this.#translated(this.#client.send(new PutObjectRetentionCommand({ ...this.#at(name), Retention: retention })))
  }

  /** Locks a small file for a minute and tries to remove it all the same. */
  async inspect(): Promise<TargetInspection> {
    const name = `${probePrefix}lock-${randomUUID()}`
    const versioning = await this.#client.send(new GetBucketVersioningCommand({ Bucket: this.#bucket })).catch(() => undefined)
    const keepsVersions = versioning?.Status === 'Enabled'
    const Body = 'locked for a minute by a test of this target\n'
    const lock = { ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate: new Date(Date.now() + minuteMs) } as const
    const put = new PutObjectCommand({ ...this.#at(name), Body, ChecksumAlgorithm: 'SHA256', ...lock })
    const stored = await this.#client.send(put).catch((error: Error) => error)
    if (stored instanceof Error || stored.VersionId === undefined) {
      const canLock = stored instanceof Error && stored.name === 'AccessDenied' ? ('forbidden' as const) : false
      return { keepsVersions, canLock, canBypassLock: undefined }
    }
    const remove = new DeleteObjectCommand({ ...this.#at(name), VersionId: stored.VersionId, BypassGovernanceRetention: true })
    const canBypassLock = await this.#client.send(remove).then(
      () => true,
      () => false,
    )
    return { keepsVersions, canLock: true, canBypassLock }
  }

  #patience() {
    return { where: `target "${this.name}" (${this.place})`, silenceMs: this.#location.silenceMs }
  }

  #lockMode(): 'GOVERNANCE' | 'COMPLIANCE' {
    return this.#location.rules.lockMode === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE'
  }

  #at(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + name }
  }

  #extras(): object {
    const { url } = this.#location
    const [sse, key, storage] = ['sse', 'kms_key', 'storage_class'].map((parameter) => url.searchParams.get(parameter))
    return {
      ...(sse ? { ServerSideEncryption: sse } : {}),
      ...(key ? { SSEKMSKeyId: key } : {}),
      ...(storage ? { StorageClass: storage } : {}),
    }
  }

  async #translated<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      throw this.#failure(error)
    }
  }

  #failure(error: unknown): unknown {
    if (error instanceof AppError) return error
    const kind = error instanceof S3ServiceException ? error.name : ''
    const where = `target "${this.name}" (${this.place})`
    if (kind === 'NoSuchKey' || kind === 'NotFound')
      return new AppError('not-found', `there is no such bundle at ${where}`, { cause: error })
    if (kind === 'AccessDenied')
      return new AppError('forbidden', `${where} refuses this: ${messageOf(error)}`, {
        hint: 'a lock holds the object, or the credential lacks the right',
        cause: error,
      })
    return new AppError('unreachable', `${where}: ${messageOf(error) || kind}`, {
      hint: hints[kind] ?? 'look at its endpoint and credentials',
      cause: error,
    })
  }
}

const hints: Record<string, string> = {
  NoSuchBucket: 'make the bucket first, with versioning and object lock',
  InvalidAccessKeyId: 'look at the credentials in targets.env',
  SignatureDoesNotMatch: 'look at the secret in targets.env, and at the clock of this host',
  CredentialsProviderError: 'put ACCESS_KEY_ID and SECRET_ACCESS_KEY of the target into targets.env',
}
