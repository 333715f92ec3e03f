import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  type S3Client,
  UploadPartCommand,
  type UploadPartCommandInput,
} from '@aws-sdk/client-s3'

const partsAtOnce = 2
/** A target that does not answer is not waited for when an upload is given up. */
const giveUpMs = 5_000

interface Parts {
  /** The first, asked for when all others are on their way. */
  start(): Promise<Buffer>
  following: AsyncIterable<Buffer>
  request: { abortSignal?: AbortSignal }
}

type Upload = Pick<UploadPartCommandInput, 'Bucket' | 'Key' | 'UploadId'>

/** Stores an object in parts, and leaves none behind when that fails. */
export async function putParts(client: S3Client, stored: CreateMultipartUploadCommandInput, parts: Parts): Promise<void> {
  const { start, following, request } = parts
  const { Bucket, Key } = stored
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(stored), request)
  const upload = { Bucket, Key, UploadId }
  const sendPart = (PartNumber: number, Body: Buffer) => putPart(client, { ...upload, PartNumber, Body }, request)
  const sent: Promise<CompletedPart>[] = []
  try {
    for await (const part of following) {
      const sending = sendPart(sent.length + 2, part)
      sending.catch(() => {})
      sent.push(sending)
      await sent.at(-partsAtOnce)
    }
    const Parts = [await sendPart(1, await start()), ...(await Promise.all(sent))]
    await client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }), request)
  } catch (error) {
    // A part that arrives later would stay.
    await Promise.allSettled(sent.slice(-partsAtOnce))
    await giveUp(client, upload)
    throw error
  }
}

async function putPart(client: S3Client, part: UploadPartCommandInput, request: Parts['request']): Promise<CompletedPart> {
  const { ETag, ChecksumSHA256 } = await client.send(new UploadPartCommand({ ...part, ChecksumAlgorithm: 'SHA256' }), request)
  return { PartNumber: part.PartNumber, ETag, ChecksumSHA256 }
}

/** A credential that may only add may not do this: the lifecycle rules of the bucket then do. */
async function giveUp(client: S3Client, upload: Upload): Promise<void> {
  const limit = { abortSignal: AbortSignal.timeout(giveUpMs) }
  await client.send(new AbortMultipartUploadCommand(upload), limit).catch(() => {})
}
