// Decodes compressed request bodies, of which a few bytes can stand for gigabytes.

import { decompress } from "@vqd/shared/decompress.ts";
import { VqdError } from "@vqd/shared/errors.ts";

export const ENCODINGS = ["gzip", "deflate"] as const;
type Encoding = (typeof ENCODINGS)[number];

/** The header, as errors name it. */
export const CONTENT_ENCODING = "Content-Encoding";

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
  try {
    return await decompress(body, encoding, limit);
  } catch (cause) {
    throw new VqdError("malformed_body", `the body is not valid ${encoding}`, { cause });
  }
}
