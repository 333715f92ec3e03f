import { Readable } from 'node:stream'
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { AppError, messageOf } from '../../core/app-error.ts'
import { dayMs } from '../../core/clock.ts'
import type { Target, TargetLocation, TargetSecrets } from '../target.ts'

/** S3 wants 5 MiB at least; 10,000 parts of this make 156 GiB. */
const partBytes = 16 * 1024 * 1024
const partsAtOnce = 2
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
    const folder = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, '')
    this.#prefix = folder === '' ? '' : `${folder}/`
    this.place = `s3://${this.#bucket}/${this.#prefix}`
    const endpoint = url.searchParams.get('endpoint')
    const accessKeyId = secrets('ACCESS_KEY_ID')
    const secretAccessKey = secrets('SECRET_ACCESS_KEY')
    const sessionToken = secrets('SESSION_TOKEN')
    this.#client = new S3Client({
      region: url.searchParams.get('region') ?? 'us-east-1',
      maxAttempts,
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
      ...(accessKeyId === undefined || secretAccessKey === undefined
        ? {}
        : { credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) } }),
    })
  }

  async put(name: string, content: AsyncIterable<Buffer>): Promise<void> {
    const upload = new Upload({
      client: this.#client,
      partSize: partBytes,
      queueSize: partsAtOnce,
      leavePartsOnError: false,
      params: {
        ...this.#at(name),
        Body: Readable.from(content, { objectMode: false }),
        ChecksumAlgorithm: 'SHA256',
        ...this.#extras(),
      },
    })
    await this.#translated(upload.done())
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

  async *open(name: string): AsyncGenerator<Buffer> {
    const { Body } = await this.#translated(this.#client.send(new GetObjectCommand(this.#at(name))))
    try {
      for await (const chunk of Body as AsyncIterable<Uint8Array>)
        yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async remove(name: string): Promise<void> {
    await this.#translated(this.#client.send(new DeleteObjectCommand(this.#at(name))))
  }

  #at(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + name }
  }

  #extras(): object {
    const { url, rules } = this.#location
    const [sse, key, storage] = ['sse', 'kms_key', 'storage_class'].map((parameter) => url.searchParams.get(parameter))
    return {
      ...(sse ? { ServerSideEncryption: sse } : {}),
      ...(key ? { SSEKMSKeyId: key } : {}),
      ...(storage ? { StorageClass: storage } : {}),
      ...(rules.lockDays === 0
        ? {}
        : {
            ObjectLockMode: rules.lockMode.toUpperCase(),
            ObjectLockRetainUntilDate: new Date(Date.now() + rules.lockDays * dayMs),
          }),
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
