import { createCRC64 } from 'hash-wasm'
import { crcPolynomial } from './format.ts'

/** A running CRC-64 as the archive format defines it. */
export interface Crc64 {
  update(bytes: Uint8Array): void
  value(): bigint
}

export async function newCrc64(): Promise<Crc64> {
  const hasher = await createCRC64(crcPolynomial)
  hasher.init()
  return {
    update: (bytes) => void hasher.update(bytes),
    value: () => BigInt(`0x${hasher.digest('hex')}`),
  }
}
