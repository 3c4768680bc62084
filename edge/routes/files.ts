// Generated images, for whoever has the URL.

import { VqdError } from "@vqd/shared/errors.ts";
import type { AppContext } from "../context.ts";
import { configOf } from "../env.ts";
import { fileKey } from "../hub/files.ts";

const CAPABILITY = /^[0-9a-hjkmnp-tv-z]{32}$/;
const NAME = /^\d{1,3}(?:-\d{1,3})?\.(?:png|jpg|webp)$/;

/** `GET /v1/files/{capability}/{name}` */
export async function getFile(c: AppContext): Promise<Response> {
  const capability = c.req.param("capability") ?? "";
  const name = c.req.param("name") ?? "";
  const isPossible = CAPABILITY.test(capability) && NAME.test(name);
  const file: R2Object | R2ObjectBody | null = isPossible
    ? await c.env.FILES.get(fileKey(capability, name), { onlyIf: c.req.raw.headers })
    : null;
  if (file === null) throw new VqdError("not_found", "there is no such file, or it has expired");
  const maxAge = Math.floor(configOf(c.env).fileRetentionMs / 1_000);
  const headers = {
    etag: file.httpEtag,
    "cache-control": `public, max-age=${maxAge}, immutable`,
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
