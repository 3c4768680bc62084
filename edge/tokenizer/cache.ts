// The tokenizers in use in this isolate.

import { VqdError } from "@vqd/shared/errors.ts";
import type { ClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import { type AnnouncedModel, buildTokenizer } from "./announced.ts";
import { clipTokenizer } from "./clip.ts";

/** One of CLIP's size takes about 8 MB, and more while it is built; an isolate has 128 MB. */
const MAX_TOKENIZERS = 4;
/** Isolates learn of a new announcement within three seconds. */
const RETRY_SECONDS = 3;
const POLL_MS = 10;
/** After this, a request that builds a tokenizer is taken for abandoned: it is then stopped without notice. */
const BUILD_LIMIT_MS = 2_000;

/** Gets an announcement by its hash; null means that no model has it any more. */
type Fetch = (id: string) => Promise<Uint8Array<ArrayBuffer> | null>;

/** By the hash of the announcement, most recently used last. */
const tokenizers = new Map<string, ClipTokenizer>();
/** Until when others wait for the request that builds a tokenizer. */
const building = new Map<string, number>();

/**
 * The model's tokenizer, fetched and built once per isolate as long as it stays in use. Rejects with a VqdError
 * (no_worker) if it has just been replaced.
 */
export async function tokenizerOf(
  { tokenizerId, tokenizer: { padTokenId } }: AnnouncedModel,
  fetch: Fetch,
): Promise<ClipTokenizer> {
  const key = tokenizerId ?? `clip-${padTokenId === 0}`;
  let tokenizer = tokenizers.get(key);
  if (tokenizer === undefined) {
    tokenizer = tokenizerId === null ? clipTokenizer(padTokenId) : await build(tokenizerId, fetch);
  }
  tokenizers.delete(key);
  tokenizers.set(key, tokenizer);
  for (const oldest of tokenizers.keys()) {
    if (tokenizers.size <= MAX_TOKENIZERS) break;
    tokenizers.delete(oldest);
  }
  return tokenizer;
}

/**
 * Requests wait for the first that wants the tokenizer, each by a timer of its own: a promise made by another request never
 * settles if that request's client disconnects.
 */
async function build(id: string, fetch: Fetch): Promise<ClipTokenizer> {
  while ((building.get(id) ?? 0) > Date.now()) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const built = tokenizers.get(id);
    if (built !== undefined) return built;
  }
  building.set(id, Date.now() + BUILD_LIMIT_MS);
  try {
    const announcement = await fetch(id);
    if (announcement !== null) return await buildTokenizer(announcement);
  } finally {
    building.delete(id);
  }
  throw new VqdError("no_worker", "the model has just been announced again; try again", {
    retryable: true,
    retryAfterSeconds: RETRY_SECONDS,
  });
}
