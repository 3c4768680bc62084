// What jobs of an owner carry in common: workers share their passes between owners, but need not know who they are.

import { encodeHex } from "../../util/bytes.ts";
import { limitSize } from "../../util/limit-size.ts";

const TAG_BYTES = 8;
const MOST_KNOWN = 10_000;

/** Tags at random, for as long as the hub is in memory: nothing links an owner's jobs for longer. */
export class OwnerTags {
  readonly #tags = new Map<string, string>();

  of(owner: string): string {
    const known = this.#tags.get(owner);
    if (known !== undefined) return known;
    limitSize(this.#tags, MOST_KNOWN);
    const tag = encodeHex(crypto.getRandomValues(new Uint8Array(TAG_BYTES)));
    this.#tags.set(owner, tag);
    return tag;
  }
}
