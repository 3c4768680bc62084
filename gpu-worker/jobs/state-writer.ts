// Writes the diffusion state of one attempt, for hubs that do not read batches.

import { encodeState } from "@vqd/shared/codec.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { Fence, type FenceOptions } from "./fence.ts";

export class StateWriter {
  readonly #fence: Fence;

  constructor(options: FenceOptions) {
    this.#fence = new Fence(options);
  }

  get owner(): string {
    return this.#fence.owner;
  }

  /** Resolves to false when another attempt has written since, or when `signal` aborts. Never rejects. */
  write(state: JobState, tokens: Uint16Array, signal?: AbortSignal): Promise<boolean> {
    return this.#fence.write(encodeState(state, tokens), signal);
  }
}
