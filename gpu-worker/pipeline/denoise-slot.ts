// An image being denoised, and its part in a step.

import type { PromptConditioning } from "./conditioning/prompt-conditioning.ts";
import type { StepNoise, UniformSource } from "./sampling/random.ts";
import type { Jump } from "./sampling/schedule.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";
import type { UnmaskingOrder } from "./sampling/unmasking/order.ts";

/** One image on its way from masks to codes. Its entire state is `tokens` and `stepIndex`. */
export interface DenoiseSlot {
  /** x_t: class ids [L], the mask being the last class. */
  readonly tokens: Uint16Array;
  /** [L], 1 for pixels that keep their class at every step, which is never the mask; undefined for none. */
  readonly held?: Uint8Array | undefined;
  /** Number of completed steps. */
  stepIndex: number;
  /** Timesteps of the whole run, first to last. */
  readonly timesteps: readonly number[];
  readonly seed: number | bigint;
  /** Index of the image among those with its seed: the noise depends on (seed, image). */
  readonly image: number;
  /** Guidance applies above 1. */
  readonly guidanceScale: number;
  /** Above 0; 1 leaves the probabilities unchanged. */
  readonly temperature: number;
  readonly truncationRate: number;
  readonly prompt: PromptConditioning;
  readonly negative: PromptConditioning;
  readonly scheduler: DiffusionScheduler;
  /** The order in which pixels are unmasked; if there is none, the posterior draws them. */
  readonly order?: UnmaskingOrder | undefined;
  /** Fraction of the drawn pixels that a step in an order remasks, 0 to 1. */
  readonly remasking: number;
  /** Noise to use instead of the seed's, for comparison with recorded runs. */
  readonly noise?: (stepIndex: number) => UniformSource;
  /** Where to write the most likely x_0 predicted at this step, class ids [L], if wanted. */
  readonly mostLikely?: ((stepIndex: number) => Uint16Array | undefined) | undefined;
}

/** Guidance evaluates the transformer twice: with and without the prompt. */
export const isGuided = (slot: DenoiseSlot): boolean => slot.guidanceScale > 1;

/** A slot's part in a step. */
export interface SlotStep {
  readonly slot: DenoiseSlot;
  readonly jump: Jump;
  readonly noise: StepNoise;
  readonly evaluated: readonly number[];
  /** Where to write the most likely image. */
  readonly preview: Uint16Array | undefined;
}

/** Writes the classes of held pixels to `preview`. */
export function keepHeld(preview: Uint16Array, { tokens, held }: DenoiseSlot): void {
  for (const [position, token] of tokens.entries()) if (held?.[position] === 1) preview[position] = token;
}
