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
import { runOf, type RunSettings } from "./sampling/run.ts";
import { originalPurityOrder, purityOrder } from "./sampling/purity.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";
import { type NamedSchedulers, resolveScheduler } from "./sampling/schedulers.ts";
import { addNoise, stepsSpared } from "./sampling/start.ts";
import type { UnmaskingOrder } from "./sampling/unmasking/order.ts";

/** A slot's settings, as `VQDiffusionPipeline.makeSlot` takes them. */
export interface SlotInit extends Pick<
  DenoiseSlot,
  "tokens" | "held" | "seed" | "image" | "guidanceScale" | "truncationRate" | "prompt" | "negative"
> {
  /** May be omitted with the scheduler "original", whose `inferSpeed` decides it. */
  readonly numInferenceSteps?: number | undefined;
  /** Number of steps already completed [0]. */
  readonly stepIndex?: number;
  /** What `tokens` are, if they are not this run's own state after `stepIndex` steps: they are turned into one, in place. */
  readonly start?: SlotStart | undefined;
  /** A name, or the caller's own scheduler [the pipeline's; "original" with an `inferSpeed`]. */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /** Of the scheduler "original", 0.1 to 10: see `originalRun` [1]. */
  readonly inferSpeed?: number | undefined;
  /** Which masked pixels a step unmasks; see `confidenceOrder` and `haltonOrder` ["posterior"]. */
  readonly order?: OrderName | undefined;
  /** Fraction of the drawn pixels that a step in an order or by purity remasks, 0 to 1; see remasking.ts [0]. */
  readonly remasking?: number | undefined;
  /** p(x_0) is raised to the power 1 / temperature, 0.01 to 2 [1]. */
  readonly temperature?: number | undefined;
  /**
   * Purity sampling, with order `posterior`: 0 for none, 1 to draw positions by purity, 2 to sharpen classes as well; with the
   * scheduler "original" see `originalPurityOrder` [0; 1 with an `inferSpeed` below 1].
   */
  readonly priorRule?: PriorRule | undefined;
  /** How much rule 2 sharpens, >= 0; see `purityOrder` [0]. */
  readonly priorWeight?: number | undefined;
  readonly mostLikely?: DenoiseSlot["mostLikely"];
}

/** A finished image, with how far back to begin (see stepsSpared); or the state after `step` steps of a `run` [the slot's own]. */
export type SlotStart =
  | { readonly strength: number }
  | { readonly step: number; readonly run?: RunSettings | undefined };

function refuse(field: string, requirement: string, value: unknown): never {
  throw new InvalidInputError(field, `must be ${requirement}, not ${String(value)}`);
}

const isSeed = (seed: number | bigint): boolean =>
  seed >= 0 && (typeof seed === "bigint" ? seed <= MAX_SEED : Number.isSafeInteger(seed));

/** The order that the settings specify; undefined for the posterior. Throws InvalidInputError. */
function readOrder(
  { order = "posterior", priorRule = 0, priorWeight = 0, remasking = 0, inferSpeed = 1, scheduler }: SlotInit,
  { latentWidth, latentHeight }: PipelineInfo,
): ((maskedShares: readonly number[] | undefined) => UnmaskingOrder) | undefined {
  if (!ORDERS.includes(order)) refuse("order", ORDERS.join(" or "), order);
  if (!PRIOR_RULES.includes(priorRule)) refuse("priorRule", PRIOR_RULES.join(" or "), priorRule);
  if (!(Number.isFinite(priorWeight) && priorWeight >= 0)) {
    refuse("priorWeight", "a number >= 0", priorWeight);
  }
  if (!(remasking >= 0 && remasking <= 1)) refuse("remasking", "from 0 to 1", remasking);
  const name = typeof scheduler === "string" ? scheduler : REFERENCE_SAMPLER.scheduler;
  const settings = {
    ...REFERENCE_SAMPLER,
    scheduler: name,
    inferSpeed,
    order,
    priorRule,
    priorWeight,
    remasking,
  };
  const conflict = samplerConflict(settings, (field) => field);
  if (conflict !== undefined) throw new InvalidInputError(conflict.field, conflict.reason);
  if (order === "confidence") return () => confidenceOrder;
  if (order === "halton") return () => haltonOrder(latentWidth, latentHeight);
  if (priorRule === 0) return undefined;
  return (maskedShares) =>
    maskedShares === undefined
      ? purityOrder(priorWeight)
      : originalPurityOrder(priorRule, priorWeight, maskedShares);
}

/** A pipeline's schedulers: the one of slots that name none, and those with names. */
export interface Schedulers {
  readonly own: DiffusionScheduler;
  readonly named: NamedSchedulers;
}

/** The settings with what others imply. */
function complete(init: SlotInit, own: DiffusionScheduler): SlotInit {
  const { inferSpeed, priorRule = inferSpeed !== undefined && inferSpeed < 1 ? 1 : 0 } = init;
  return { ...init, scheduler: init.scheduler ?? (inferSpeed === undefined ? own : "original"), priorRule };
}

/**
 * A slot at step `stepIndex`, or where `start` puts it. Throws InvalidInputError, naming the setting, if one is invalid for this
 * model.
 */
export function createSlot(given: SlotInit, { own, named }: Schedulers, info: PipelineInfo): DenoiseSlot {
  const init = complete(given, own);
  const { tokens, held, seed, guidanceScale, temperature = 1, truncationRate } = init;
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
  const resolved = resolveScheduler(init.scheduler ?? own, named);
  if (resolved.numTrainTimesteps !== info.numTrainTimesteps) {
    refuse("scheduler", `for the model's ${info.numTrainTimesteps} timesteps`, resolved.numTrainTimesteps);
  }
  const orderOfRun = readOrder(init, info);
  const { scheduler, timesteps, maskedShares } = runOf(init, named, info);
  const order = orderOfRun?.(maskedShares);
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
          timesteps:
            start.run === undefined
              ? timesteps
              : runOf({ ...start.run, scheduler: start.run.scheduler ?? scheduler }, named, info).timesteps,
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
