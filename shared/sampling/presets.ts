// Named sampler settings: the number of steps, and how they are made.

import type { PresetName } from "./preset-names.ts";
import { REFERENCE_SAMPLER, type SamplerSettings } from "./sampler.ts";

export interface PresetSettings extends SamplerSettings {
  /** Limited to the model's number of timesteps. */
  readonly numInferenceSteps: number;
}

const CONFIDENCE = {
  ...REFERENCE_SAMPLER,
  scheduler: "strided",
  order: "confidence",
  temperature: 0.5,
} as const;

/** Chosen by measurements (docs/sampling.md). `reference` is diffusers' own sampler. */
export const PRESETS = {
  draft: { ...CONFIDENCE, numInferenceSteps: 5 },
  fast: { ...CONFIDENCE, numInferenceSteps: 10 },
  best: { ...CONFIDENCE, numInferenceSteps: 25 },
  reference: { ...REFERENCE_SAMPLER, numInferenceSteps: 100 },
} as const satisfies Record<PresetName, PresetSettings>;
