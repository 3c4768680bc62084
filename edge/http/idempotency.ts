// Repeated requests find the prediction that was created the first time: by the Idempotency-Key header, by an id of the
// caller's own, or because the client says that it tries again.

import { sha256Hex } from "../util/bytes.ts";
import type { AppContext } from "./context.ts";
import { isOwnId, keyOfOwnId } from "../prediction/own-id.ts";
import type { Idempotency, Retry } from "../prediction/records.ts";
import { invalidInput } from "./body/validation.ts";

/** Visible ASCII; most clients send a UUID. */
const KEY = /^[\x21-\x7e]{1,255}$/;

/** The request's key and a hash of what it asks for; null without a key. Throws a VqdError (invalid_input). */
export async function idempotencyOf(c: AppContext, body: unknown): Promise<Idempotency | null> {
  const key = c.req.header("idempotency-key")?.trim();
  if (key === undefined) return null;
  if (!KEY.test(key)) {
    const message = "must be 1 to 255 visible ASCII characters without spaces";
    throw invalidInput([{ path: "Idempotency-Key", message }]);
  }
  return { key, requestHash: await requestHash(c, body) };
}

/** The same for a request whose path has an id of the caller's own. Throws a VqdError (invalid_input). */
export async function idempotencyOfId(c: AppContext, body: unknown): Promise<Idempotency> {
  const id = c.req.param("id") ?? "";
  if (!isOwnId(id)) {
    const message =
      "must be 1 to 100 letters, digits, dots, underscores and hyphens, the first a letter or digit, and not look like an id that the service assigns";
    throw invalidInput([{ path: "id", message }]);
  }
  if (c.req.header("idempotency-key") !== undefined) {
    throw invalidInput([{ path: "Idempotency-Key", message: "must be omitted: the id takes its place" }]);
  }
  return { key: keyOfOwnId(id), requestHash: await requestHash(c, body) };
}

/** How many times the client has sent this request before; sent by OpenAI's clients. */
const RETRY_COUNT = "x-stainless-retry-count";

/** The request as one that its client sends again by itself; undefined unless the client says so. */
export async function retryOf(c: AppContext, body: unknown): Promise<Retry | undefined> {
  const count = c.req.header(RETRY_COUNT) ?? "";
  if (!/^\d{1,4}$/.test(count)) return undefined;
  return { requestHash: await requestHash(c, body), isRetry: Number(count) > 0 };
}

/** A hash of everything that the request asks for. */
function requestHash(c: AppContext, body: unknown): Promise<string> {
  return sha256Hex(JSON.stringify([c.req.path, c.req.header("cancel-after") ?? null, body]));
}
