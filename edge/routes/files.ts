// Serves images, generated or brought by callers, to anyone who has the URL.

import { VqdError } from "@vqd/shared/errors.ts";
import { CAPABILITY_PATTERN } from "@vqd/shared/ids.ts";
import type { AppContext } from "../http/context.ts";
import { fileKey, isFileName } from "../hub/storage/files.ts";

/** Entity tags as If-Match and If-None-Match list them. */
const ETAGS = /^(?:\*|(?:W\/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W\/)?"[\x21\x23-\x7e]*")*)$/;

/** A conditional header; undefined if it is absent or not a list of entity tags. */
function entityTags(c: AppContext, header: "if-match" | "if-none-match"): string | undefined {
  const given = c.req.header(header);
  return given !== undefined && ETAGS.test(given) ? given : undefined;
}

/** Whether If-Match holds: one of its tags is the file's, by strong comparison. */
function isMatch(tags: string | undefined, etag: string): boolean {
  if (tags === undefined || tags === "*") return true;
  return tags.split(/,\s*(?=W\/"|")/).some((tag) => tag.trim() === etag);
}

/** Caches may keep a file without asking again, but not for longer than the service keeps it. */
function cacheControl({ uploaded }: R2Object, retentionMs: number): string {
  // The retention begins with the end of the prediction, a little later.
  const left = Math.floor((uploaded.getTime() + retentionMs - Date.now()) / 1_000);
  return left > 0 ? `public, max-age=${left}, must-revalidate, immutable` : "no-store";
}

/**
 * `GET /v1/files/{capability}/{name}`. A file never changes and has no date, so only conditions on entity tags apply.
 */
export const getFile = (c: AppContext): Promise<Response> =>
  serveFile(c, c.req.param("capability") ?? "", c.req.param("name") ?? "");

/** Answers with the file. Throws a VqdError (not_found, precondition_failed). */
export async function serveFile(c: AppContext, capability: string, name: string): Promise<Response> {
  const isPossible = CAPABILITY_PATTERN.test(capability) && isFileName(name);
  const known = entityTags(c, "if-none-match");
  // R2 throws on malformed headers.
  const onlyIf = new Headers(known === undefined ? {} : { "if-none-match": known });
  const file: R2Object | R2ObjectBody | null = isPossible
    ? await c.env.FILES.get(fileKey(capability, name), { onlyIf })
    : null;
  if (file === null) throw new VqdError("not_found", "the file does not exist or has expired");
  if (!isMatch(entityTags(c, "if-match"), file.httpEtag)) {
    if ("body" in file) await (file as R2ObjectBody).body.cancel();
    throw new VqdError("precondition_failed", "the file does not match If-Match");
  }
  const headers = {
    etag: file.httpEtag,
    "cache-control": cacheControl(file, c.get("config").fileRetentionMs),
    "cross-origin-resource-policy": "cross-origin",
  };
  if (!("body" in file)) return new Response(null, { status: 304, headers });
  return new Response((file as R2ObjectBody).body, {
    headers: {
      ...headers,
      "content-type": file.httpMetadata?.contentType ?? "application/octet-stream",
      "content-length": String(file.size),
      "content-disposition": `inline; filename="${name}"`,
    },
  });
}
