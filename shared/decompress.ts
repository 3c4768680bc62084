// Decompression with a limit, for bytes from strangers: a few of them can stand for gigabytes.

/** Bytes decoded at a time: deflate turns one into 1,032 at most, and what a write yields may be held in memory. */
const PIECE_BYTES = 512;

/** Decompresses up to `limit` bytes; undefined if there are more. Rejects if `bytes` are not of that format, or incomplete. */
export async function decompress(
  bytes: Uint8Array<ArrayBuffer>,
  format: "gzip" | "deflate",
  limit: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { readable, writable } = new DecompressionStream(format);
  const writing = write(writable.getWriter(), bytes);
  // Reported by the reading side, or of no interest after the limit.
  writing.catch(() => {});
  const decoded = new Uint8Array(limit);
  let size = 0;
  for await (const chunk of readable) {
    if (size + chunk.length > limit) return undefined;
    decoded.set(chunk, size);
    size += chunk.length;
  }
  await writing;
  return decoded.subarray(0, size);
}

async function write(
  writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    await writer.write(bytes.subarray(start, start + PIECE_BYTES));
  }
  await writer.close();
}
