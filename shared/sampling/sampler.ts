// Sampler settings: what they are, how a caller's combine with a preset's, and which conflict.

import type { OrderName, PriorRule, SchedulerName } from "../job.ts";
import { SKIPPING_SPEED } from "./original.ts";

export interface SamplerSettings {
  /** How the steps are spread over the diffusion process. */
  readonly scheduler: SchedulerName;
  /** Of the scheduler "original": see `originalRun`. */
  readonly inferSpeed: number;
  /** Which pixels a step unmasks. */
  readonly order: OrderName;
  /** Purity sampling, which is an order itself and therefore allowed with order `posterior` only. */
  readonly priorRule: PriorRule;
  /** How much rule 2 sharpens, >= 0. */
  readonly priorWeight: number;
  /** Fraction of the drawn pixels that a step remasks, 0 to 1. */
  readonly remasking: number;
  /** Above 0: p(x_0) is raised to the power 1 / temperature. */
  readonly temperature: number;
}

/** The reference's settings. */
export const REFERENCE_SAMPLER: SamplerSettings = {
  scheduler: "reference",
  inferSpeed: 1,
  order: "posterior",
  priorRule: 0,
  priorWeight: 0,
  remasking: 0,
  temperature: 1,
};

type Given = { readonly [Name in keyof SamplerSettings]?: SamplerSettings[Name] | null | undefined };

/**
 * The settings `given`, completed by those of `preset`. A prior rule above 0 replaces the preset's order. The scheduler "original",
 * which a speed implies, replaces the whole preset, and a speed below 1 implies prior rule 1.
 */
export function completeSampler(given: Given, preset: SamplerSettings): SamplerSettings {
  const scheduler = given.scheduler ?? (isGiven(given.inferSpeed) ? "original" : preset.scheduler);
  const base = scheduler === "original" ? REFERENCE_SAMPLER : preset;
  const inferSpeed = given.inferSpeed ?? base.inferSpeed;
  const priorRule = given.priorRule ?? (inferSpeed < 1 ? 1 : base.priorRule);
  return {
    scheduler,
    inferSpeed,
    order: given.order ?? (priorRule === 0 ? base.order : "posterior"),
    priorRule,
    priorWeight: given.priorWeight ?? base.priorWeight,
    remasking: given.remasking ?? base.remasking,
    temperature: given.temperature ?? base.temperature,
  };
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** Guidance applies above this scale. */
const NO_GUIDANCE = 1;

/** Why a negative prompt would have no effect, to be read after its name; undefined if it has one. `name`: of the scale. */
export function negativePromptConflict(guidanceScale: number, name: string): string | undefined {
  if (guidanceScale > NO_GUIDANCE) return undefined;
  return `has no effect with ${name} ${guidanceScale}, which turns guidance off; set one above ${NO_GUIDANCE}`;
}

/** A setting that conflicts with others. */
export interface SamplerConflict {
  readonly field: keyof SamplerSettings;
  /** To be read after the field's name: "only has an effect with ...". */
  readonly reason: string;
}

/** Checks settings that are each within their range; `name` gives a setting's name in the caller's interface. */
export function samplerConflict(
  settings: SamplerSettings,
  name: (field: keyof SamplerSettings) => string,
): SamplerConflict | undefined {
  const { scheduler, order, priorRule, priorWeight, remasking, inferSpeed } = settings;
  if (scheduler === "original") {
    const conflict = originalConflict(settings, name);
    if (conflict !== undefined) return conflict;
  } else if (inferSpeed !== REFERENCE_SAMPLER.inferSpeed) {
    return { field: "inferSpeed", reason: `only has an effect with ${name("scheduler")} "original"` };
  }
  if (priorRule !== 0 && order !== "posterior") {
    const reason = `must be 0 with ${name("order")} ${JSON.stringify(order)}: purity sampling is an order itself`;
    return { field: "priorRule", reason };
  }
  if (priorWeight > 0 && priorRule !== 2) {
    return { field: "priorWeight", reason: `only has an effect with ${name("priorRule")} 2` };
  }
  if (remasking > 0 && order === "posterior" && priorRule === 0) {
    const reason = `has no effect with ${name("order")} "posterior" unless ${name("priorRule")} is 1 or 2: the posterior replaces drawn tokens by itself`;
    return { field: "remasking", reason };
  }
  return undefined;
}

/** What the original's sampler does not have. */
function originalConflict(
  { order, priorRule, remasking, inferSpeed }: SamplerSettings,
  name: (field: keyof SamplerSettings) => string,
): SamplerConflict | undefined {
  const original = `${name("scheduler")} "original"`;
  if (order !== "posterior") return { field: "order", reason: `must be "posterior" with ${original}` };
  if (remasking > 0) return { field: "remasking", reason: `must be 0 with ${original}` };
  if (inferSpeed >= SKIPPING_SPEED && priorRule !== 0) {
    const reason = `has no effect with ${name("inferSpeed")} ${inferSpeed}, which skips timesteps instead; it must be below ${SKIPPING_SPEED}`;
    return { field: "priorRule", reason };
  }
  if (inferSpeed < 1 && priorRule === 0) {
    const reason = `must be 1 or 2 with ${name("inferSpeed")} ${inferSpeed}: only purity sampling makes several passes for a timestep`;
    return { field: "priorRule", reason };
  }
  return undefined;
}
