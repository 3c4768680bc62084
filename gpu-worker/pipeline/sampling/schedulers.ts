// The schedulers available for a checkpoint's schedule, by the names that callers use.

import { SCHEDULERS, type SchedulerName } from "@vqd/shared/job.ts";
import type { SchedulerConfig } from "../../checkpoint/config.ts";
import { InvalidInputError } from "../errors.ts";
import { type DiffusionScheduler, VQDiffusionScheduler } from "./scheduler.ts";
import { StridedVQDiffusionScheduler } from "./strided-scheduler.ts";

export type NamedSchedulers = Readonly<Record<SchedulerName, DiffusionScheduler>>;

export const namedSchedulers = (config: SchedulerConfig): NamedSchedulers => ({
  reference: new VQDiffusionScheduler(config),
  strided: new StridedVQDiffusionScheduler(config),
});

/** The caller's own scheduler, or one of ours by name. Throws InvalidInputError for an unknown name. */
export function resolveScheduler(
  scheduler: SchedulerName | DiffusionScheduler,
  named: NamedSchedulers,
): DiffusionScheduler {
  if (typeof scheduler !== "string") return scheduler;
  if (Object.hasOwn(named, scheduler)) return named[scheduler];
  const names = SCHEDULERS.map((name) => JSON.stringify(name)).join(" or ");
  throw new InvalidInputError("scheduler", `must be ${names}, not ${JSON.stringify(scheduler)}`);
}
