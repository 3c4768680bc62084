// Fetches an image from a caller's URL: from a public host, within limits of size, time and redirects.

import { MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import { type UrlRules, urlComplaint } from "../../util/public-url.ts";

const MAX_REDIRECTS = 3;
const LIMIT_MS = 10_000;
const USER_AGENT = "vqd-images/1";

/** The file, or what is wrong with it as the error of a field. The receiver's answer is not passed on. */
export type Fetched = { readonly bytes: Uint8Array<ArrayBuffer> } | { readonly complaint: string };

const refused = (complaint: string): Fetched => ({ complaint });

/** The body, as far as it keeps to the limit; undefined if it does not. */
async function bodyOf(response: Response): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    // Leaving the loop cancels the body.
    if (size > MAX_SOURCE_BYTES) return undefined;
    chunks.push(chunk);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function follow(url: string, rules: UrlRules, signal: AbortSignal): Promise<Fetched> {
  let at = url;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const complaint = urlComplaint(at, rules);
    if (complaint !== undefined)
      return refused(redirects === 0 ? complaint : `is redirected to what ${complaint}`);
    const response = await fetch(at, {
      // Each place is checked before it is gone to.
      redirect: "manual",
      signal,
      headers: { accept: "image/*", "user-agent": USER_AGENT },
    });
    if (response.status === 200) {
      const bytes = await bodyOf(response);
      return bytes === undefined ? refused(`must have at most ${MAX_SOURCE_BYTES} bytes`) : { bytes };
    }
    await response.body?.cancel();
    const location = response.headers.get("location");
    const isRedirect = response.status >= 300 && response.status < 400;
    if (!isRedirect || location === null)
      return refused(`could not be fetched: its server answers ${response.status}`);
    at = URL.parse(location, at)?.href ?? location;
  }
  return refused(`is redirected more than ${MAX_REDIRECTS} times`);
}

/** The file at `url`. `rules` are those of webhooks, whose internal receivers are no sources of images. Never rejects. */
export async function fetchFile(url: string, { allowLoopback, allowOrigins }: UrlRules): Promise<Fetched> {
  const origin = URL.parse(url)?.origin;
  if (origin !== undefined && allowOrigins.includes(origin))
    return refused("must not be a receiver of webhooks");
  try {
    return await follow(url, { allowLoopback, allowOrigins: [] }, AbortSignal.timeout(LIMIT_MS));
  } catch (error) {
    const isTimeout = error instanceof Error && error.name === "TimeoutError";
    return refused(
      `could not be fetched: ${isTimeout ? `no answer within ${LIMIT_MS / 1_000} s` : "no connection"}`,
    );
  }
}
