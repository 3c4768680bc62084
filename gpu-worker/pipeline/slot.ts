// One image's settings, checked against the model, as a slot of the denoiser.

import { PRIOR_RULES, type PriorRule, type SchedulerName } from "@vqd/shared/job.ts";
import type { DenoiseSlot } from "./denoiser.ts";
import { InvalidInputError } from "./errors.ts";
import type { PipelineInfo } from "./info.ts";
import type { PurityPrior } from "./sampling/purity.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";

/** A slot's settings, as `VQDiffusionPipeline.makeSlot` takes them. */
export interface SlotInit extends Pick<
  DenoiseSlot,
  "tokens" | "seed" | "image" | "guidanceScale" | "truncationRate" | "prompt" | "negative"
> {
  readonly numInferenceSteps: number;
  /** Steps done already [0]. */
  readonly stepIndex?: number;
  /** By name, or one of the caller's own; else the pipeline's. */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /** Purity sampling: 0 for none, 1 for positions drawn by purity, 2 for sharpened classes as well [0]. */
  readonly priorRule?: PriorRule | undefined;
  /** How much rule 2 sharpens, >= 0; see `PurityPrior` [0]. */
  readonly priorWeight?: number | undefined;
  readonly mostLikely?: DenoiseSlot["mostLikely"];
}

function refuse(field: string, requirement: string, value: unknown): never {
  throw new InvalidInputError(field, `must be ${requirement}, not ${String(value)}`);
}

/** The purity sampling that a rule and a weight stand for. Throws InvalidInputError. */
function priorOf({ priorRule = 0, priorWeight = 0 }: SlotInit): PurityPrior | undefined {
  if (!PRIOR_RULES.includes(priorRule)) refuse("priorRule", PRIOR_RULES.join(" or "), priorRule);
  if (!(Number.isFinite(priorWeight) && priorWeight >= 0)) {
    refuse("priorWeight", "a number >= 0", priorWeight);
  }
  if (priorWeight > 0 && priorRule !== 2) {
    throw new InvalidInputError("priorWeight", `has an effect with priorRule 2 only, not ${priorRule}`);
  }
  return priorRule === 0 ? undefined : { weight: priorWeight };
}

/** A slot at step `stepIndex`. Throws InvalidInputError, naming the setting, if one is not for this model. */
export function createSlot(init: SlotInit, scheduler: DiffusionScheduler, info: PipelineInfo): DenoiseSlot {
  const { tokens, seed, guidanceScale, truncationRate, stepIndex = 0 } = init;
  const pixels = info.latentHeight * info.latentWidth;
  if (tokens.length !== pixels || tokens.some((token) => token > info.numEmbeddings)) {
    throw new InvalidInputError("latents", `must be ${pixels} class ids from 0 to ${info.numEmbeddings}`);
  }
  if (!Number.isFinite(guidanceScale) || guidanceScale < 0) {
    refuse("guidanceScale", "a number >= 0", guidanceScale);
  }
  if (!(truncationRate > 0 && truncationRate <= 1)) {
    refuse("truncationRate", "above 0 and at most 1", truncationRate);
  }
  if (!Number.isSafeInteger(seed) || seed < 0) {
    refuse("seed", `an integer from 0 to ${Number.MAX_SAFE_INTEGER}`, seed);
  }
  if (scheduler.numTrainTimesteps !== info.numTrainTimesteps) {
    refuse("scheduler", `for the model's ${info.numTrainTimesteps} timesteps`, scheduler.numTrainTimesteps);
  }
  const prior = priorOf(init);
  const timesteps = scheduler.timesteps(init.numInferenceSteps);
  if (!Number.isInteger(stepIndex) || stepIndex < 0 || stepIndex > timesteps.length) {
    refuse("stepIndex", `an integer from 0 to ${timesteps.length}`, stepIndex);
  }
  return {
    tokens,
    stepIndex,
    timesteps,
    seed,
    image: init.image,
    guidanceScale,
    truncationRate,
    prompt: init.prompt,
    negative: init.negative,
    scheduler,
    prior,
    mostLikely: init.mostLikely,
  };
}
