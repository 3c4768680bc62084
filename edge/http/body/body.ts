// Request bodies of bounded size, compressed or not, whatever the headers claim; and JSON in them.

import { VqdError } from "@vqd/shared/errors.ts";
import { MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import { contentEncoding, decodeBody } from "./content-encoding.ts";
import { parseJson } from "./json.ts";

/** Room for ten prompts and a negative prompt of 4,000 characters, each escaped as six bytes, and the other fields. */
const MAX_BODY_BYTES = 288 * 1024;
/** Of the files in a body, which are base64. */
const MAX_FILES_BYTES = Math.ceil((MAX_SOURCE_BYTES * 4) / 3 / 1024) * 1024;
/** A refused body is still read up to this size: many clients read no response before they have sent everything. */
const MAX_DRAINED_BYTES = 8 * 1024 * 1024;

function tooLarge(limit: number): VqdError {
  return new VqdError("payload_too_large", `the body is larger than ${limit / 1024} KiB`);
}

/** All bytes of the body. Throws a VqdError (payload_too_large) if there are too many, without holding them in memory. */
async function readBody(request: Request, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  if (reader === undefined) return new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size <= limit) chunks.push(value);
    else chunks.length = 0;
    if (size > Math.max(limit, MAX_DRAINED_BYTES)) {
      await reader.cancel();
      break;
    }
  }
  if (size > limit) throw tooLarge(limit);
  const body = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.length;
  }
  return body;
}

/** What is wrong with `text`, without quoting it: others may log the response. */
function jsonComplaint(text: string): string {
  if (text.trim() === "") return "the body is empty; send a JSON object";
  if (/[:[,]\s*-?(?:NaN|Infinity)\b/.test(text)) {
    return "the body is not valid JSON: NaN and Infinity are not JSON numbers";
  }
  return "the body is not valid JSON";
}

function decoded(body: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(body);
  } catch (cause) {
    throw new VqdError("malformed_body", "the body is not valid UTF-8", { cause });
  }
}

/** The body as text, of any type. Throws a VqdError: payload_too_large, malformed_body. */
export async function readText(request: Request): Promise<string> {
  return decoded(await readBody(request, MAX_BODY_BYTES));
}

/** The type of the body, without parameters; empty if the request does not say. */
export const mediaType = (request: Request): string =>
  request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";

/**
 * The body's bytes, decompressed. `wanted` is the type that it should have and has not. Throws a VqdError: unsupported_media_type,
 * payload_too_large if it has more than `limit` bytes, malformed_body.
 */
export async function readDecoded(
  request: Request,
  limit: number,
  wanted: string | undefined,
): Promise<Uint8Array> {
  const sent = await readBody(request, limit);
  if (wanted !== undefined) {
    const problem = mediaType(request) === "" ? "is missing" : "is not";
    throw new VqdError("unsupported_media_type", `content-type must be ${wanted}, but ${problem}`);
  }
  const encoding = contentEncoding(request.headers);
  const body = encoding === undefined ? sent : await decodeBody(sent, encoding, limit);
  if (body === undefined) throw tooLarge(limit);
  return body;
}

/**
 * The parsed body. Files in it, which `filesOf` tells from a parsed body, do not count towards the limit of its size, but have one of
 * their own. Throws a VqdError: unsupported_media_type, payload_too_large, malformed_body.
 */
export async function readJsonWithFiles(
  request: Request,
  filesOf: (body: unknown) => readonly string[],
): Promise<unknown> {
  const { value, bytes } = await readSized(request, MAX_BODY_BYTES + MAX_FILES_BYTES);
  // Base64 has a byte per character.
  const files = filesOf(value).reduce((sum, file) => sum + file.length, 0);
  if (bytes - files > MAX_BODY_BYTES) throw tooLarge(MAX_BODY_BYTES);
  return value;
}

/** The parsed body. Throws a VqdError: unsupported_media_type, payload_too_large, malformed_body. */
export const readJson = async (request: Request): Promise<unknown> =>
  (await readSized(request, MAX_BODY_BYTES)).value;

async function readSized(request: Request, limit: number): Promise<{ value: unknown; bytes: number }> {
  const type = mediaType(request);
  const isJson = type === "application/json" || type.endsWith("+json");
  const body = await readDecoded(request, limit, isJson ? undefined : "application/json");
  const text = decoded(body);
  try {
    return { value: parseJson(text), bytes: body.length };
  } catch (cause) {
    // Whatever it was meant to be, there are no files in it.
    if (body.length > MAX_BODY_BYTES) throw tooLarge(MAX_BODY_BYTES);
    throw new VqdError("malformed_body", jsonComplaint(text), { cause });
  }
}
