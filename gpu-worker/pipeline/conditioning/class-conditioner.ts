// Turns classes into what the transformer sees of them, and stands in where there is nothing to condition by.

import type { DiffusersCheckpoint } from "../../checkpoint/diffusers-layout.ts";
import { classModulation } from "../../graph/labelled/class-modulation.ts";
import { InvalidInputError } from "../errors.ts";
import { PromptCache } from "./prompt-cache.ts";
import type { Conditioner, PromptConditioning } from "./prompt-conditioning.ts";

/** Of a model that is conditioned by class: a prompt is one id, the label. */
export class ClassConditioner implements Conditioner {
  readonly unconditional: PromptConditioning;
  readonly #checkpoint: DiffusersCheckpoint;
  readonly #cache: PromptCache;

  /** Throws a CheckpointError if the weights cannot be read. */
  constructor(checkpoint: DiffusersCheckpoint, cacheBytes: number) {
    this.#checkpoint = checkpoint;
    this.#cache = new PromptCache(cacheBytes);
    this.unconditional = this.#condition(null);
  }

  async encode(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    const { num_classes: count } = this.#checkpoint.transformer;
    const conditionings: PromptConditioning[] = [];
    for (const ids of promptIds) {
      const [label = -1] = ids;
      if (ids.length !== 1 || !Number.isInteger(label) || label < 0 || label >= count) {
        throw new InvalidInputError("promptIds", `must be one label from 0 to ${count - 1}`);
      }
      conditionings.push(await this.#cache.get(ids, async () => this.#condition(label)));
    }
    return conditionings;
  }

  async release(): Promise<void> {}

  /** Read each time: the weights of all classes take 100 MB in the published models, and an image takes seconds. */
  #condition(label: number | null): PromptConditioning {
    const weights = this.#checkpoint.weights("transformer");
    try {
      return { cross: classModulation(weights, this.#checkpoint.transformer, label) };
    } finally {
      weights.close();
    }
  }
}

/** Of a model that is not conditioned: a prompt is one id, 0. */
export class NoConditioner implements Conditioner {
  readonly unconditional: PromptConditioning = { cross: new Float32Array(0) };

  async encode(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    return promptIds.map((ids) => {
      if (ids.length === 1 && ids[0] === 0) return this.unconditional;
      throw new InvalidInputError("promptIds", "must be 0 alone: the model is not conditioned");
    });
  }

  async release(): Promise<void> {}
}
