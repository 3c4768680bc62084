// A run: its scheduler and timesteps, and the order in which purity sampling of the original code base unmasks.

import type { OrderName, PriorRule, SchedulerName } from "@vqd/shared/job.ts";
import { MAX_INFER_SPEED, MIN_INFER_SPEED, originalRun } from "@vqd/shared/sampling/original.ts";
import { InvalidInputError } from "../errors.ts";
import type { PipelineInfo } from "../info.ts";
import { type NamedSchedulers, resolveScheduler } from "./schedulers.ts";
import type { DiffusionScheduler } from "./scheduler.ts";
import { unmaskingTimesteps } from "./unmasking/order.ts";

/** Of the settings that decide a run's timesteps. */
export interface RunSettings {
  /** With the scheduler "original" what follows from `inferSpeed` and `priorRule`, or nothing. */
  readonly numInferenceSteps?: number | undefined;
  /** A name, or the caller's own scheduler [the slot's]. */
  readonly scheduler?: SchedulerName | DiffusionScheduler | undefined;
  /** ["posterior"] */
  readonly order?: OrderName | undefined;
  /** Of the scheduler "original", 0.1 to 10; see `originalRun` [1]. */
  readonly inferSpeed?: number | undefined;
  /** Decides timesteps with the scheduler "original" only [0]. */
  readonly priorRule?: PriorRule | undefined;
}

export interface Run {
  readonly scheduler: DiffusionScheduler;
  /** First to last. */
  readonly timesteps: readonly number[];
  /** Of the original's purity sampling: which fraction of the pixels is masked after each step. */
  readonly maskedShares?: readonly number[] | undefined;
}

/** The run of `settings`, whose default scheduler is `own`. Throws InvalidInputError. */
export function runOf(
  {
    numInferenceSteps,
    scheduler = "reference",
    order = "posterior",
    inferSpeed = 1,
    priorRule = 0,
  }: RunSettings,
  named: NamedSchedulers,
  info: Pick<PipelineInfo, "latentHeight" | "latentWidth" | "numTrainTimesteps">,
): Run {
  const resolved = resolveScheduler(scheduler, named);
  if (scheduler !== "original") {
    if (numInferenceSteps === undefined) throw new InvalidInputError("numInferenceSteps", "must be given");
    const timesteps =
      order === "posterior"
        ? resolved.timesteps(numInferenceSteps)
        : unmaskingTimesteps(resolved, numInferenceSteps);
    return { scheduler: resolved, timesteps };
  }
  if (!(inferSpeed >= MIN_INFER_SPEED && inferSpeed <= MAX_INFER_SPEED)) {
    const range = `must be from ${MIN_INFER_SPEED} to ${MAX_INFER_SPEED}`;
    throw new InvalidInputError("inferSpeed", `${range}, not ${inferSpeed}`);
  }
  const pixels = info.latentHeight * info.latentWidth;
  const { timesteps, skip, left } = originalRun(
    { inferSpeed, priorRule },
    { timesteps: info.numTrainTimesteps, pixels },
  );
  if (numInferenceSteps !== undefined && numInferenceSteps !== timesteps.length) {
    const message = `must be ${timesteps.length}, which inferSpeed ${inferSpeed} makes, not ${numInferenceSteps}`;
    throw new InvalidInputError("numInferenceSteps", message);
  }
  return {
    scheduler: skip === 0 ? resolved : named.skipping(skip),
    timesteps,
    maskedShares: left?.map((count) => count / pixels),
  };
}
