// Forks: the state of another prediction after one of its steps, and that prediction's settings where none are given.

import { VqdError } from "@vqd/shared/errors.ts";
import { isPredictionId } from "@vqd/shared/ids.ts";
import type { MaskChannel } from "@vqd/shared/editing/source.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import type { Config } from "../../config.ts";
import { isOwnId } from "../../prediction/own-id.ts";
import { unwrap } from "../../prediction/hub-result.ts";
import { type ImageType, imageTypeOf } from "../../prediction/image-type.ts";
import type { Hubs } from "../hubs.ts";
import type { PredictionInput } from "../schemas.ts";
import type { Refuse } from "./check.ts";

/** A completed input, as its record has it. */
type Completed = PredictionInput &
  Pick<Required<PredictionInput>, "num_inference_steps" | "scheduler" | "order">;

export interface Fork {
  readonly input: Completed;
  /** Of the model that made it. */
  readonly version: string;
  readonly model: string;
  /** Completed steps. */
  readonly step: number;
  readonly totalSteps: number;
  readonly images: number;
  /** Class ids as uint16 LE of all images; undefined for a fork from the start, where all are masked. */
  readonly tokens: Uint8Array<ArrayBuffer> | undefined;
  /** What was held there is held here too. */
  readonly mask:
    | {
        readonly bytes: Uint8Array<ArrayBuffer>;
        readonly type: ImageType;
        readonly channel: MaskChannel;
      }
    | undefined;
}

interface ForkContext {
  readonly hubs: Hubs;
  readonly config: Config;
  readonly keyName: string;
  readonly refuse: Refuse;
  /** Path of the field in the body. */
  readonly path: string;
}

/** The state that `from` names. Throws a VqdError: not_found unless the key's owner created the prediction, invalid_input. */
export async function forkOf(
  { prediction, step }: NonNullable<PredictionInput["from"]>,
  { hubs, config, keyName, refuse, path }: ForkContext,
): Promise<Fork> {
  const missing = new VqdError("not_found", `${path}.prediction does not exist`, {
    errors: [{ path: `${path}.prediction`, message: "does not exist" }],
  });
  const isOwn = isOwnId(prediction);
  if (!isOwn && !(isPredictionId(prediction) && hubs.has(prediction))) throw missing;
  const named = isOwn ? await hubs.own.idOf(prediction, keyName) : undefined;
  if (named?.ok === false && named.error.code === "not_found") throw missing;
  const id = named === undefined ? prediction : unwrap(named);
  const found = await hubs.ofPrediction(id).stateOf(id, keyName, step);
  if (!found.ok && found.error.code === "not_found") throw missing;
  const { record, tokens, mask } = unwrap(found);
  const { totalSteps, images, model, version } = record;
  const input = JSON.parse(record.inputJson) as Completed;
  if (step > totalSteps) refuse("from", `names step ${step} of a prediction of ${totalSteps} steps`);
  const isStart = step === 0 && !input.image && !input.tokens && !input.from;
  if (tokens === null && !isStart) {
    const kept = `steps are kept for ${config.stepRetentionMs / 1_000} s after a prediction's end`;
    refuse("from", `names step ${step}, which is not recorded: ${kept}`);
  }
  if (mask === null) refuse("from", "names a prediction whose mask has expired");
  return {
    input,
    version,
    model,
    step,
    totalSteps,
    images,
    tokens: tokens ?? undefined,
    mask:
      mask === undefined || mask === null ? undefined : { ...mask, type: imageTypeOf(mask.bytes) ?? "png" },
  };
}

const SAMPLER = [
  "num_inference_steps",
  "scheduler",
  "infer_speed",
  "order",
  "remasking",
  "temperature",
  "prior_rule",
  "prior_weight",
] as const;
/** What a run starts from is not taken over: its state is. */
const OF_START = ["image", "mask", "mask_channel", "feather", "strength", "tokens", "from"] as const;
const OF_FILES = ["output_quality", "embed_settings"] as const;
const SIZE = ["width", "height"] as const;

/** Fields with an effect on the run, by which one that has ended cannot be changed any more. */
const OF_RUN = [
  ...SAMPLER,
  "preset",
  "prompt",
  "class_label",
  "negative_prompt",
  "guidance_scale",
  "truncation_rate",
  "seed",
  "seeds",
] as const;

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** The input of a fork: `given`, and everything else as it was. */
export function forkedInput(given: PredictionInput, fork: Fork, refuse: Refuse): PredictionInput {
  const gives = (...fields: (keyof PredictionInput)[]): boolean =>
    fields.some((field) => isGiven(given[field]));
  const dropped = new Set<keyof PredictionInput>([
    ...OF_START,
    ...(gives("preset") ? SAMPLER : []),
    ...(gives("seed", "seeds") ? (["seed", "seeds"] as const) : []),
    ...(gives("width", "height", "size", "aspect_ratio") || given.output_format === "tokens" ? SIZE : []),
    ...(gives("class_label") ? (["prompt"] as const) : []),
    ...(gives("num_images_per_prompt") ? (["num_outputs"] as const) : []),
    ...(gives("output_format") && given.output_format !== fork.input.output_format ? OF_FILES : []),
    ...(given.output_format === "tokens" ? (["num_previews"] as const) : []),
  ]);
  const kept = Object.entries(fork.input).filter(([field]) => !dropped.has(field as keyof PredictionInput));
  const own = Object.entries(given).filter(([, value]) => isGiven(value));
  if (fork.step === fork.totalSteps) {
    for (const field of OF_RUN) {
      if (!isGiven(given[field]) || JSON.stringify(given[field]) === JSON.stringify(fork.input[field]))
        continue;
      refuse(field, "has no effect after the last step: the tokens are only decoded");
    }
  }
  return Object.fromEntries([...kept, ...own]) as PredictionInput;
}

/** The settings of the run, as far as they decide its timesteps. */
export function runOf({ num_inference_steps: steps, scheduler, order, ...input }: Completed) {
  return {
    numInferenceSteps: steps ?? 1,
    scheduler: scheduler ?? "reference",
    ...(order && order !== "posterior" ? { order } : {}),
    ...(input.infer_speed ? { inferSpeed: input.infer_speed, priorRule: input.prior_rule ?? 0 } : {}),
  } as const;
}

/** Throws, by `refuse`, if the model is not the one whose state it is. */
export function checkForkModel(fork: Fork, model: ModelManifest | undefined, refuse: Refuse): void {
  if (model?.version === fork.version) return;
  if (model === undefined) refuse("from", `is of a model that is not available now: ${fork.model}`);
  refuse("from", `is of another model or version: ${fork.model}:${fork.version}`);
}
