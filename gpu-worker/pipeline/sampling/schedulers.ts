// The schedulers available for a checkpoint's schedule, by the names that callers use.

import { SCHEDULERS, type SchedulerName } from "@vqd/shared/job.ts";
import type { SchedulerConfig } from "../../checkpoint/config.ts";
import { InvalidInputError } from "../errors.ts";
import { type DiffusionScheduler, VQDiffusionScheduler } from "./scheduler.ts";
import { SkippingVQDiffusionScheduler } from "./skipping-scheduler.ts";
import { StridedVQDiffusionScheduler } from "./strided-scheduler.ts";

export interface NamedSchedulers {
  readonly reference: DiffusionScheduler;
  readonly strided: DiffusionScheduler;
  /** The original's, which leaves out `skip` timesteps after each. */
  readonly skipping: (skip: number) => DiffusionScheduler;
}

export function namedSchedulers(config: SchedulerConfig): NamedSchedulers {
  const skipping = new Map<number, DiffusionScheduler>();
  return {
    reference: new VQDiffusionScheduler(config),
    strided: new StridedVQDiffusionScheduler(config),
    skipping: (skip) => {
      const made = skipping.get(skip) ?? new SkippingVQDiffusionScheduler(config, skip);
      skipping.set(skip, made);
      return made;
    },
  };
}

/**
 * The caller's own scheduler, or one of ours by name: of "original" the one that skips nothing. Throws InvalidInputError for an
 * unknown name.
 */
export function resolveScheduler(
  scheduler: SchedulerName | DiffusionScheduler,
  named: NamedSchedulers,
): DiffusionScheduler {
  if (typeof scheduler !== "string") return scheduler;
  if (scheduler === "strided") return named.strided;
  if (scheduler === "reference" || scheduler === "original") return named.reference;
  const names = SCHEDULERS.map((name) => JSON.stringify(name)).join(" or ");
  throw new InvalidInputError("scheduler", `must be ${names}, not ${JSON.stringify(scheduler)}`);
}
