/** A file that is open for writing, as the platform gives it. */
interface OpenFile {
  write(chunk: Buffer, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>
}

/** A disk that is nearly full takes a part of a write without an error; the next write tells. */
export async function writeWhole(file: OpenFile, chunk: Buffer, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position + done)
    done += bytesWritten
  }
}
