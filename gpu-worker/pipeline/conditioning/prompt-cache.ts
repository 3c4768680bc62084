// Keeps the conditionings of the most recently used prompts, within a memory limit.

import type { PromptConditioning } from "./prompt-conditioning.ts";

interface Entry {
  readonly conditioning: Promise<PromptConditioning>;
  /** 0 until it has been computed. */
  bytes: number;
}

export class PromptCache {
  readonly #maxBytes: number;
  /** By token ids, least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  /** `maxBytes` 0 keeps nothing. A conditioning counts from when it has been computed. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The conditioning of `ids`, computed by `make` unless it is cached; concurrent requests for it share one computation.
   * Rejects as `make` does, and then caches nothing.
   */
  get(ids: readonly number[], make: () => Promise<PromptConditioning>): Promise<PromptConditioning> {
    const key = ids.join();
    const known = this.#entries.get(key);
    if (known !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, known);
      return known.conditioning;
    }
    const entry: Entry = { conditioning: this.#make(key, make), bytes: 0 };
    this.#entries.set(key, entry);
    return entry.conditioning;
  }

  /** Counts the conditioning as soon as it is computed, before anyone who waits for it continues. */
  async #make(key: string, make: () => Promise<PromptConditioning>): Promise<PromptConditioning> {
    try {
      const made = await make();
      const entry = this.#entries.get(key);
      const bytes = (made.cross ?? made.ids)?.byteLength ?? 0;
      if (entry !== undefined) entry.bytes = bytes;
      this.#bytes += bytes;
      this.#evict();
      return made;
    } catch (error) {
      this.#entries.delete(key);
      throw error;
    }
  }

  #evict(): void {
    for (const [key, { bytes }] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) return;
      // Not counted yet: still being computed, and awaited.
      if (bytes === 0) continue;
      this.#entries.delete(key);
      this.#bytes -= bytes;
    }
  }
}
