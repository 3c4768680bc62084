// Creates a slot of the denoiser from one image's settings, checked against the model.

import { ORDERS, type OrderName, PRIOR_RULES, type PriorRule, type SchedulerName } from "@vqd/shared/job.ts";
import { MAX_TEMPERATURE, MIN_TEMPERATURE } from "@vqd/shared/limits.ts";
import { REFERENCE_SAMPLER, samplerConflict } from "@vqd/shared/sampling/sampler.ts";
import { MAX_SEED, SEED_RANGE } from "@vqd/shared/sampling/seed.ts";
import type { DenoiseSlot } from "./denoiser.ts";
import { InvalidInputError } from "./errors.ts";
import type { PipelineInfo } from "./info.ts";
import { confidenceOrder } from "./sampling/unmasking/confidence.ts";
import { haltonOrder } from "./sampling/unmasking/halton.ts";
import { purityOrder } from "./sampling/purity.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";
import { addNoise, stepsSpared } from "./sampling/start.ts";
import { type UnmaskingOrder, unmaskingTimesteps } from "./sampling/unmasking/order.ts";

/** A slot's settings, as `VQDiffusionPipeline.makeSlot` takes them. */
export interface SlotInit extends Pick<
  DenoiseSlot,
  "tokens" | "held" | "seed" | "image" | "guidanceScale" | "truncationRate" | "prompt" | "negative"
> {
  readonly numInferenceSteps: number;
  /** Number of steps already completed [0]. */
  readonly stepIndex?: number;
  /** What `tokens` are, if they are not this run's own state after `stepIndex` steps: they are turned into one, in place. */
  readonly start?: SlotStart | undefined;
  /** A name, or the caller's own scheduler [the pipeline's]. */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /** Which masked pixels a step unmasks; see `confidenceOrder` and `haltonOrder` ["posterior"]. */
  readonly order?: OrderName | undefined;
  /** Fraction of the drawn pixels that a step in an order or by purity remasks, 0 to 1; see remasking.ts [0]. */
  readonly remasking?: number | undefined;
  /** p(x_0) is raised to the power 1 / temperature, 0.01 to 2 [1]. */
  readonly temperature?: number | undefined;
  /** Purity sampling, with order `posterior`: 0 for none, 1 to draw positions by purity, 2 to sharpen classes as well [0]. */
  readonly priorRule?: PriorRule | undefined;
  /** How much rule 2 sharpens, >= 0; see `purityOrder` [0]. */
  readonly priorWeight?: number | undefined;
  readonly mostLikely?: DenoiseSlot["mostLikely"];
}

/** Of the settings that decide a run's timesteps. */
export interface RunSettings {
  readonly numInferenceSteps: number;
  /** A name, or the caller's own scheduler [the slot's]. */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /** ["posterior"] */
  readonly order?: OrderName | undefined;
}

/** A finished image, with how far back to begin (see stepsSpared); or the state after `step` steps of a `run` [the slot's own]. */
export type SlotStart =
  | { readonly strength: number }
  | { readonly step: number; readonly run?: RunSettings | undefined };

/** The timesteps of a run, first to last. */
function timestepsOf(
  scheduler: DiffusionScheduler,
  { numInferenceSteps, order = "posterior" }: RunSettings,
): readonly number[] {
  return order === "posterior"
    ? scheduler.timesteps(numInferenceSteps)
    : unmaskingTimesteps(scheduler, numInferenceSteps);
}

function refuse(field: string, requirement: string, value: unknown): never {
  throw new InvalidInputError(field, `must be ${requirement}, not ${String(value)}`);
}

const isSeed = (seed: number | bigint): boolean =>
  seed >= 0 && (typeof seed === "bigint" ? seed <= MAX_SEED : Number.isSafeInteger(seed));

/** The order that the settings specify; undefined for the posterior. Throws InvalidInputError. */
function readOrder(init: SlotInit, { latentWidth, latentHeight }: PipelineInfo): UnmaskingOrder | undefined {
  const { order = "posterior", priorRule = 0, priorWeight = 0, remasking = 0 } = init;
  if (!ORDERS.includes(order)) refuse("order", ORDERS.join(" or "), order);
  if (!PRIOR_RULES.includes(priorRule)) refuse("priorRule", PRIOR_RULES.join(" or "), priorRule);
  if (!(Number.isFinite(priorWeight) && priorWeight >= 0)) {
    refuse("priorWeight", "a number >= 0", priorWeight);
  }
  if (!(remasking >= 0 && remasking <= 1)) refuse("remasking", "from 0 to 1", remasking);
  const settings = { ...REFERENCE_SAMPLER, order, priorRule, priorWeight, remasking };
  const conflict = samplerConflict(settings, (field) => field);
  if (conflict !== undefined) throw new InvalidInputError(conflict.field, conflict.reason);
  if (order === "confidence") return confidenceOrder;
  if (order === "halton") return haltonOrder(latentWidth, latentHeight);
  return priorRule === 0 ? undefined : purityOrder(priorWeight);
}

/**
 * A slot at step `stepIndex`, or where `start` puts it; `resolve` gives the scheduler of a name, or of none. Throws
 * InvalidInputError, naming the setting, if one is invalid for this model.
 */
export function createSlot(
  init: SlotInit,
  resolve: (scheduler: SlotInit["scheduler"]) => DiffusionScheduler,
  info: PipelineInfo,
): DenoiseSlot {
  const { tokens, held, seed, guidanceScale, temperature = 1, truncationRate } = init;
  const scheduler = resolve(init.scheduler);
  const pixels = info.latentHeight * info.latentWidth;
  if (tokens.length !== pixels || tokens.some((token) => token > info.numEmbeddings)) {
    throw new InvalidInputError("latents", `must be ${pixels} class ids from 0 to ${info.numEmbeddings}`);
  }
  if (held !== undefined && (held.length !== pixels || held.some((one) => one > 1))) {
    throw new InvalidInputError(
      "held",
      `must be ${pixels} numbers, 1 for tokens that are held and 0 for others`,
    );
  }
  if (tokens.some((token, position) => token === info.numEmbeddings && held?.[position] === 1)) {
    throw new InvalidInputError("held", "must not include masked tokens");
  }
  if (!Number.isFinite(guidanceScale) || guidanceScale < 0) {
    refuse("guidanceScale", "a number >= 0", guidanceScale);
  }
  if (info.conditioning === "none" && guidanceScale > 1) {
    refuse("guidanceScale", "at most 1, as the model is not conditioned", guidanceScale);
  }
  if (!(temperature >= MIN_TEMPERATURE && temperature <= MAX_TEMPERATURE)) {
    refuse("temperature", `from ${MIN_TEMPERATURE} to ${MAX_TEMPERATURE}`, temperature);
  }
  if (!(truncationRate > 0 && truncationRate <= 1)) {
    refuse("truncationRate", "above 0 and at most 1", truncationRate);
  }
  if (!isSeed(seed)) refuse("seed", `${SEED_RANGE}, as a bigint above 2^53 - 1`, seed);
  if (scheduler.numTrainTimesteps !== info.numTrainTimesteps) {
    refuse("scheduler", `for the model's ${info.numTrainTimesteps} timesteps`, scheduler.numTrainTimesteps);
  }
  const order = readOrder(init, info);
  const timesteps = timestepsOf(scheduler, init);
  const begin = (start: SlotStart): number => {
    const isFinished = "strength" in start;
    if (isFinished) {
      if (!(start.strength >= 0 && start.strength <= 1)) refuse("strength", "from 0 to 1", start.strength);
      if (tokens.includes(info.numEmbeddings)) {
        throw new InvalidInputError("latents", "must not include masked tokens with a strength");
      }
    }
    const point = isFinished
      ? start
      : {
          step: start.step,
          timesteps: timestepsOf(resolve(start.run?.scheduler ?? scheduler), start.run ?? init),
        };
    const step = stepsSpared(timesteps, point, info.numTrainTimesteps);
    const t = timesteps[step];
    if (isFinished && t !== undefined) {
      addNoise(
        { ...init, strength: start.strength, scheduler, isOrdered: order !== undefined },
        t,
        info.numEmbeddings,
      );
    }
    return step;
  };
  const stepIndex = init.start === undefined ? (init.stepIndex ?? 0) : begin(init.start);
  if (!Number.isInteger(stepIndex) || stepIndex < 0 || stepIndex > timesteps.length) {
    refuse("stepIndex", `an integer from 0 to ${timesteps.length}`, stepIndex);
  }
  return {
    tokens,
    held,
    stepIndex,
    timesteps,
    seed,
    image: init.image,
    guidanceScale,
    temperature,
    truncationRate,
    prompt: init.prompt,
    negative: init.negative,
    scheduler,
    order,
    remasking: init.remasking ?? 0,
    mostLikely: init.mostLikely,
  };
}
