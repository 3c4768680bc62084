// Conditionings of the prompts used last, within a bound of memory.

import type { PromptConditioning } from "./prompt-conditioning.ts";

interface Entry {
  readonly conditioning: Promise<PromptConditioning>;
  /** 0 until it is made. */
  bytes: number;
}

export class PromptCache {
  readonly #maxBytes: number;
  /** By token ids, least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  /** `maxBytes` 0 keeps nothing. What is being made counts once it is there. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The conditioning of `ids`, from `make` if it is not kept; asked twice at the same time, it is made once. Rejects as
   * `make` does, and keeps nothing then.
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

  /** Counts it when it is there, before anybody who waits for it goes on. */
  async #make(key: string, make: () => Promise<PromptConditioning>): Promise<PromptConditioning> {
    try {
      const made = await make();
      const entry = this.#entries.get(key);
      if (entry !== undefined) entry.bytes = made.cross.byteLength;
      this.#bytes += made.cross.byteLength;
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
      // Without weight yet: being made, and awaited.
      if (bytes === 0) continue;
      this.#entries.delete(key);
      this.#bytes -= bytes;
    }
  }
}
