import { crc32 } from 'node:zlib'
import { gzipBlocks } from './gzip-blocks.ts'

/**
 * How the tar of a bundle is enclosed in its file. The tar begins with sizes that are known when everything behind them is written, so
 * its head is enclosed last, into space that was left free for it.
 */
export interface Wrapping {
  /** The size of an enclosed head. @param headBytes a multiple of `headUnit` */
  spaceOf(headBytes: number): number
  /** Encloses the head. @param isAll nothing follows it */
  head(plain: Buffer, isAll: boolean): Buffer
  /** Encloses everything behind a head of `headBytes`. */
  body(plain: AsyncIterable<Buffer>, headBytes: number): AsyncIterable<Buffer>
}

/** Heads are whole chunks of age's payload. */
export const headUnit = 64 * 1024

const maxStoredBytes = 65_535

/** A `.tar.gz` of two gzip members (RFC 1952, 2.2). Nothing in it is compressed again: nearly all of it is an archive that is. */
export const gzipWrapping: Wrapping = {
  spaceOf: (headBytes) => 18 + headBytes + 5 * Math.ceil(headBytes / maxStoredBytes),
  head: storedMember,
  body: (plain) => gzipBlocks(plain, 0),
}

/** A gzip member of stored blocks (RFC 1951, 3.2.4), whose size follows from that of the content. */
function storedMember(content: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from('1f8b08000000000000ff', 'hex')]
  for (let start = 0; start < content.length; start += maxStoredBytes) {
    const block = content.subarray(start, start + maxStoredBytes)
    const header = Buffer.alloc(5)
    header[0] = start + block.length === content.length ? 1 : 0
    header.writeUInt16LE(block.length, 1)
    header.writeUInt16LE(~block.length & 0xffff, 3)
    parts.push(header, block)
  }
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(crc32(content), 0)
  trailer.writeUInt32LE(content.length, 4)
  return Buffer.concat([...parts, trailer])
}
