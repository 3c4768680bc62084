// Multipart bodies of bounded size: fields and files.

import { VqdError } from "@vqd/shared/errors.ts";
import { invalidInput } from "./validation.ts";
import { mediaType, readDecoded } from "./body.ts";

/** Parts of a body; no operation takes as many. */
const MAX_PARTS = 100;

/** The parts of a body, by name. */
export interface Multipart {
  readonly texts: ReadonlyMap<string, readonly string[]>;
  readonly files: ReadonlyMap<string, readonly File[]>;
}

const isMultipart = (request: Request): boolean => mediaType(request) === "multipart/form-data";

/**
 * The body's fields and files. Throws a VqdError: unsupported_media_type, payload_too_large if it has more than `limit` bytes,
 * malformed_body.
 */
export async function readMultipart(request: Request, limit: number): Promise<Multipart> {
  const body = await readDecoded(request, limit, isMultipart(request) ? undefined : "multipart/form-data");
  const contentType = request.headers.get("content-type") ?? "";
  let form: FormData;
  try {
    form = await new Response(body, { headers: { "content-type": contentType } }).formData();
  } catch (cause) {
    throw new VqdError("malformed_body", "the body is not valid multipart/form-data", { cause });
  }
  const texts = new Map<string, string[]>();
  const files = new Map<string, File[]>();
  let parts = 0;
  // Client libraries mark repeated parts as those of a list.
  for (const [given, value] of form) {
    if (++parts > MAX_PARTS)
      throw invalidInput([{ path: "", message: `must have at most ${MAX_PARTS} parts` }]);
    const name = given.replace(/\[\]$/, "");
    if (typeof value === "string") texts.set(name, [...(texts.get(name) ?? []), value]);
    else files.set(name, [...(files.get(name) ?? []), value]);
  }
  return { texts, files };
}
