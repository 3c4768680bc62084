// How the steps of a run are made: the settings, how a preset's and a caller's go together, and which do not.

import type { OrderName, PriorRule, SchedulerName } from "./job.ts";

export interface SamplerSettings {
  /** How the steps are spread over the diffusion process. */
  readonly scheduler: SchedulerName;
  /** Which pixels a step unmasks. */
  readonly order: OrderName;
  /** Purity sampling; an order too, and so with order `posterior` only. */
  readonly priorRule: PriorRule;
  /** How much rule 2 sharpens, >= 0. */
  readonly priorWeight: number;
  /** Share of the drawn pixels that a step masks again, 0 to 1. */
  readonly remasking: number;
  /** Exponent 1 / temperature of p(x_0), above 0. */
  readonly temperature: number;
}

/** What the reference does. */
export const REFERENCE_SAMPLER: SamplerSettings = {
  scheduler: "reference",
  order: "posterior",
  priorRule: 0,
  priorWeight: 0,
  remasking: 0,
  temperature: 1,
};

type Given = { readonly [Name in keyof SamplerSettings]?: SamplerSettings[Name] | null | undefined };

/** What is `given`, and for the rest what `preset` says; but a prior rule above 0 takes the place of the preset's order. */
export function completeSampler(given: Given, preset: SamplerSettings): SamplerSettings {
  const priorRule = given.priorRule ?? preset.priorRule;
  return {
    scheduler: given.scheduler ?? preset.scheduler,
    order: given.order ?? (priorRule === 0 ? preset.order : "posterior"),
    priorRule,
    priorWeight: given.priorWeight ?? preset.priorWeight,
    remasking: given.remasking ?? preset.remasking,
    temperature: given.temperature ?? preset.temperature,
  };
}

/** A setting that does not go with the others. */
export interface SamplerConflict {
  readonly field: keyof SamplerSettings;
  /** Follows the field's name: "has an effect with ...". */
  readonly reason: string;
}

/** Of settings that are each within their range; `name` says what a setting is called where the caller is. */
export function samplerConflict(
  { order, priorRule, priorWeight, remasking }: SamplerSettings,
  name: (field: keyof SamplerSettings) => string,
): SamplerConflict | undefined {
  if (priorRule !== 0 && order !== "posterior") {
    const reason = `must be 0 with ${name("order")} ${JSON.stringify(order)}: purity is an order of its own`;
    return { field: "priorRule", reason };
  }
  if (priorWeight > 0 && priorRule !== 2) {
    return { field: "priorWeight", reason: `only has an effect with ${name("priorRule")} 2` };
  }
  if (remasking > 0 && order === "posterior" && priorRule === 0) {
    const reason = `has no effect with ${name("order")} "posterior" unless ${name("priorRule")} is 1 or 2: the process replaces drawn tokens itself`;
    return { field: "remasking", reason };
  }
  return undefined;
}
