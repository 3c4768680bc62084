// The pages: static files, served with a strict content security policy.

import { VqdError } from "@vqd/shared/errors.ts";
import { operationsAsHtml } from "../api-docs/list.ts";
import type { AppContext } from "../http/context.ts";

const NAME = /^[a-z0-9][a-z0-9-]*\.(?:js|css|svg|json|webp)$/;

/** What pages load, beside themselves. */
export const ASSET_FOLDERS = [
  "assets",
  "client",
  "console",
  "playground",
  "playground/form",
  "playground/grid",
  "playground/stage",
  "reference",
  "suggestions",
] as const;

/** Pages load only their own files: no inline scripts or styles, nothing from other origins. */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  // Thumbnails of the history are data URLs.
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const PAGE_HEADERS = {
  "content-security-policy": PAGE_POLICY,
  "cross-origin-opener-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
} as const;

async function serve(c: AppContext, path: string, headers: Record<string, string> = {}): Promise<Response> {
  const request = new Request(new URL(path, c.req.url), { headers: c.req.raw.headers });
  const file = await c.env.PAGES.fetch(request);
  if (file.status !== 200 && file.status !== 304)
    throw new VqdError("not_found", "there is nothing at this path");
  const response = new Response(file.body, file);
  // File names do not change with their content, so browsers revalidate by ETag.
  response.headers.set("cache-control", "no-cache");
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}

/** `GET /`, `GET /console` and so on */
export const getPage =
  (name: "index" | "status" | "console") =>
  (c: AppContext): Promise<Response> =>
    serve(c, `/${name}.html`, PAGE_HEADERS);

let operations: string | undefined;

/** `GET /docs`: the page, and in it what browsers without scripts can read of the OpenAPI document. */
export async function getReference(c: AppContext): Promise<Response> {
  // Whole: what the file's ETag says does not cover the list.
  const page = await c.env.PAGES.fetch(new URL("/docs.html", c.req.url));
  operations ??= operationsAsHtml();
  const html = (await page.text()).replace("<!-- operations -->", () => operations ?? "");
  return new Response(html, {
    headers: { ...PAGE_HEADERS, "content-type": "text/html; charset=utf-8", "cache-control": "no-cache" },
  });
}

/** What a browser asks for when somebody opens an address; no API client does. */
const ASKS_FOR_A_PAGE = /^\s*(?:text\/html|application\/xhtml\+xml)\s*(?:[,;]|$)/i;

/** For a browser that asks for a page that does not exist; undefined for any other client. */
export async function missingPage(c: AppContext): Promise<Response | undefined> {
  if (c.req.method !== "GET" || !ASKS_FOR_A_PAGE.test(c.req.header("accept") ?? "")) return undefined;
  const page = await serve(c, "/missing.html", PAGE_HEADERS);
  return new Response(page.body, { status: 404, headers: page.headers });
}

/** `GET /{folder}/{name}` */
export const getAsset =
  (folder: (typeof ASSET_FOLDERS)[number]) =>
  (c: AppContext): Promise<Response> => {
    const name = c.req.param("name") ?? "";
    if (!NAME.test(name)) throw new VqdError("not_found", "there is nothing at this path");
    return serve(c, `/${folder}/${name}`);
  };
