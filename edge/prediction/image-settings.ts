// The settings that an image's file holds, from its prediction. Only the image's own prompt is among them.

import type { SamplerSettings } from "@vqd/shared/sampling/sampler.ts";
import type { JsonSeed } from "@vqd/shared/sampling/seed.ts";
import type { ImageSettings } from "@vqd/shared/metadata/settings.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { PredictionRecord } from "./records.ts";

/** A completed input, as far as it matters here. Those of earlier releases do not have the last field. */
interface Input extends Pick<SamplerSettings, "scheduler" | "order" | "remasking" | "temperature"> {
  readonly prompt: string | readonly string[] | null;
  readonly negative_prompt: string | null;
  readonly num_inference_steps: number;
  readonly guidance_scale: number;
  readonly truncation_rate: number;
  /** Of one that starts from an image or tokens. */
  readonly strength?: number;
  readonly num_outputs: number;
  readonly seed?: JsonSeed;
  readonly seeds?: readonly JsonSeed[];
  /** Of the scheduler "original". */
  readonly infer_speed?: number | null;
  readonly prior_rule: SamplerSettings["priorRule"];
  readonly prior_weight: number;
  readonly embed_settings?: boolean | null;
}

/** Settings of image `index`; undefined if its file is to hold none. */
export function imageSettings(
  { inputJson, model, version }: Pick<PredictionRecord, "inputJson" | "model" | "version">,
  index: number,
  { width, height }: { readonly width: number; readonly height: number },
): ImageSettings | undefined {
  const input = JSON.parse(inputJson) as Input;
  if (input.embed_settings !== true) return undefined;
  const { seeds } = input;
  const seed = seeds?.[index] ?? input.seed ?? outOfBounds();
  const prompt = [input.prompt ?? ""].flat()[Math.floor(index / input.num_outputs)] ?? outOfBounds();
  return {
    prompt,
    negativePrompt: input.negative_prompt,
    numInferenceSteps: input.num_inference_steps,
    guidanceScale: input.guidance_scale,
    truncationRate: input.truncation_rate,
    strength: input.strength,
    seed,
    place: seeds === undefined ? index : seeds.slice(0, index).filter((other) => other === seed).length,
    width,
    height,
    model,
    version,
    scheduler: input.scheduler,
    inferSpeed: input.infer_speed ?? 1,
    order: input.order,
    remasking: input.remasking,
    temperature: input.temperature,
    priorRule: input.prior_rule,
    priorWeight: input.prior_weight,
  };
}
