// Bearer keys: known by their SHA-256 only, compared in constant time.

import { VqdError } from "@vqd/shared/errors.ts";
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "../context.ts";
import { type ApiKey, configOf } from "../env.ts";

const HOW_TO = "send `Authorization: Bearer <key>`";
/** No key is longer; hashing more would only be work for nothing. */
const MAX_KEY_CHARS = 512;

/** The owner of `key`. Looks at every known key, so that the time does not tell which one came close. */
async function ownerOf(key: string, known: readonly ApiKey[]): Promise<string | undefined> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  let owner: string | undefined;
  for (const candidate of known) {
    if (crypto.subtle.timingSafeEqual(digest, candidate.digest)) owner = candidate.name;
  }
  return owner;
}

/** Lets a request pass that has a known key, and sets `keyName`. */
export const requireKey = createMiddleware<AppEnv>(async (c, next) => {
  const { apiKeys } = configOf(c.env);
  if (apiKeys.length === 0) throw new VqdError("not_configured", "no API keys configured");
  const header = c.req.header("authorization");
  if (header === undefined) throw new VqdError("unauthorized", `an API key is required: ${HOW_TO}`);
  // Replicate's older clients say Token.
  const [, key] = /^(?:Bearer|Token) +(\S+)$/i.exec(header.trim()) ?? [];
  if (key === undefined)
    throw new VqdError("unauthorized", `the Authorization header is not valid: ${HOW_TO}`);
  const owner = key.length > MAX_KEY_CHARS ? undefined : await ownerOf(key, apiKeys);
  if (owner === undefined) throw new VqdError("unauthorized", "the API key is not valid");
  c.set("keyName", owner);
  return next();
});
