// The edge's CLIP tokenizer, created at start-up, and the hash by which models identify its vocabulary.

import { encodeHex } from "../util/bytes.ts";
import merges from "@vqd/shared/tokenizer/clip-merges.txt";
import { createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";

export const tokenizer = createClipTokenizer(merges);

let hash: Promise<string> | undefined;

/** SHA-256 of the merges in hex. Hashing is asynchronous, so the first request does it. */
export function mergesSha256(): Promise<string> {
  hash ??= crypto.subtle
    .digest("SHA-256", new TextEncoder().encode(merges))
    .then((digest) => encodeHex(new Uint8Array(digest)));
  return hash;
}
