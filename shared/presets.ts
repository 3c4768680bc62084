// Named settings of the sampler: how many steps, and how they are spent.

import type { PriorRule, SchedulerName } from "./job.ts";

export interface PresetSettings {
  /** At most the model's timesteps are made. */
  readonly numInferenceSteps: number;
  readonly scheduler: SchedulerName;
  readonly priorRule: PriorRule;
  readonly priorWeight: number;
}

/**
 * Chosen by what was measured with a model that is not sure of its images (docs/sampling.md): `draft` has the best score of all at a tenth
 * of the time and the least variety, `fast` scores as all steps do at a quarter of the time, `best` is the reference.
 */
export const PRESETS = {
  draft: { numInferenceSteps: 10, scheduler: "strided", priorRule: 2, priorWeight: 1 },
  fast: { numInferenceSteps: 25, scheduler: "strided", priorRule: 0, priorWeight: 0 },
  best: { numInferenceSteps: 100, scheduler: "reference", priorRule: 0, priorWeight: 0 },
} as const satisfies Record<string, PresetSettings>;

export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = ["draft", "fast", "best"] as const satisfies PresetName[];
