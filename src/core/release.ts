/**
 * Frees memory that nobody looks at any more. The collector would come for it late, and counts it as a reason to come often.
 * Only bytes with a large buffer of their own are freed; what is left of them has no length.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (bytes.byteLength === buffer.byteLength && bytes.byteLength > Buffer.poolSize) (buffer as ArrayBuffer).transfer(0)
}
