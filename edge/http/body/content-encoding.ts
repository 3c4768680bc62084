// Decodes compressed request bodies, of which a few bytes can stand for gigabytes.

import { VqdError } from "@vqd/shared/errors.ts";

export const ENCODINGS = ["gzip", "deflate"] as const;
type Encoding = (typeof ENCODINGS)[number];

/** The header, as errors name it. */
export const CONTENT_ENCODING = "Content-Encoding";

/** Bytes decoded at a time: deflate turns one into 1,032 at most, and what a write yields may be held in memory. */
const PIECE_BYTES = 512;

/**
 * The body's encoding; undefined if it has none. Throws a VqdError (unsupported_media_type) for others, and for several on top of
 * each other.
 */
export function contentEncoding(headers: Headers): Encoding | undefined {
  const given = headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  if (given === "" || given === "identity") return undefined;
  const encoding = ENCODINGS.find((known) => given === known || given === `x-${known}`);
  if (encoding !== undefined) return encoding;
  const message = `must be ${ENCODINGS.join(", ")} or identity`;
  throw new VqdError("unsupported_media_type", `${CONTENT_ENCODING} ${message}`, {
    errors: [{ path: CONTENT_ENCODING, message }],
  });
}

/**
 * Decodes `body` up to `limit` bytes; undefined if there are more. Throws a VqdError (malformed_body) if it is not what
 * `encoding` says, or incomplete.
 */
export async function decodeBody(
  body: Uint8Array<ArrayBuffer>,
  encoding: Encoding,
  limit: number,
): Promise<Uint8Array | undefined> {
  const { readable, writable } = new DecompressionStream(encoding);
  const writer = writable.getWriter();
  const writing = write(writer, body);
  // Reported by the reading side, or of no interest after the limit.
  writing.catch(() => {});
  const decoded = new Uint8Array(limit);
  let size = 0;
  try {
    for await (const chunk of readable) {
      if (size + chunk.length > limit) return undefined;
      decoded.set(chunk, size);
      size += chunk.length;
    }
    await writing;
  } catch (cause) {
    throw new VqdError("malformed_body", `the body is not valid ${encoding}`, { cause });
  }
  return decoded.subarray(0, size);
}

async function write(writer: WritableStreamDefaultWriter, body: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let start = 0; start < body.length; start += PIECE_BYTES) {
    await writer.write(body.subarray(start, start + PIECE_BYTES));
  }
  await writer.close();
}
