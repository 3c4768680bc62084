// The Idempotency-Key header: a repeated request finds the prediction that it created the first time.

import { encodeHex } from "../util/bytes.ts";
import type { AppContext } from "./context.ts";
import type { Idempotency } from "../prediction/records.ts";
import { invalidInput } from "./validation.ts";

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
  const request = JSON.stringify([c.req.path, c.req.header("cancel-after") ?? null, body]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(request));
  return { key, requestHash: encodeHex(new Uint8Array(digest)) };
}
