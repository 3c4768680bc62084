// The options of `vqd generate` that say what an image starts from.

import { readFileSync } from "node:fs";
import { MAX_FEATHER, MAX_TIMESTEPS } from "@vqd/shared/limits.ts";
import type { CallOptions } from "../pipeline/call.ts";
import type { PipelineInfo } from "../pipeline/pipeline.ts";
import { choiceOption, numberOption, UsageError } from "./command.ts";
import { readTokens } from "./tokens.ts";

export const SOURCE_OPTIONS = [
  "image",
  "mask",
  "mask-channel",
  "strength",
  "feather",
  "from-tokens",
  "from-step",
] as const;

export const SOURCE_HELP = `\
  --image FILE             start from an image, scaled and cropped to the model's size
  --mask FILE              of the image's size: make only what is white anew, and hold the rest
  --mask-channel NAME      luminance, or alpha: make anew what is transparent, without --mask
                           what is transparent in the image itself                    [luminance]
  --strength S             how far back to begin: 0 keeps the image, 1 ignores it
                                                       [1 with a mask, 0.8 with an image alone]
  --feather N              blend into the image: outside the mask it stays as it is, and inside
                           it fades within N pixels, 0 to ${MAX_FEATHER}                [what the model decodes]
  --from-tokens FILE       start from tokens, .vqt or .json, instead of an image
  --from-step N            they are the state after N steps of a run with these settings, instead
                           of a finished image's
`;

type Source = Pick<
  CallOptions,
  "image" | "mask" | "maskChannel" | "strength" | "feather" | "latents" | "step"
>;

/** What the options say, to be read once the model is known. Throws a UsageError. */
export function readSource(
  values: Readonly<Record<string, string | undefined>>,
): (info: PipelineInfo) => Source {
  const channel = choiceOption(values, "mask-channel", ["luminance", "alpha"]);
  const strength = numberOption(values, "strength", { min: 0, max: 1 });
  const feather = numberOption(values, "feather", { min: 0, max: MAX_FEATHER, integer: true });
  const step = numberOption(values, "from-step", { min: 0, max: MAX_TIMESTEPS, integer: true });
  const { image, mask, "from-tokens": tokens } = values;
  const needs = (name: string, is: boolean, what: string): void => {
    if (values[name] !== undefined && !is) throw new UsageError(`--${name} needs ${what}`);
  };
  if (image !== undefined && tokens !== undefined) {
    throw new UsageError("--image cannot be given together with --from-tokens");
  }
  const hasSource = image !== undefined || tokens !== undefined;
  const hasMask = mask !== undefined || (channel === "alpha" && image !== undefined);
  needs("mask", hasSource, "--image or --from-tokens");
  needs("mask-channel", hasMask, "--mask, or for alpha --image");
  needs("strength", hasSource, "--image or --from-tokens");
  needs("feather", image !== undefined && hasMask, "--image and a mask");
  needs("from-step", tokens !== undefined && strength === undefined, "--from-tokens, and no --strength");
  if (tokens !== undefined && strength === undefined && step === undefined) {
    throw new UsageError("--from-tokens needs --strength or --from-step");
  }
  return (info) => ({
    image: image === undefined ? undefined : readFile("image", image),
    mask: mask === undefined ? (hasMask ? "image_alpha" : undefined) : readFile("mask", mask),
    maskChannel: mask === undefined ? undefined : channel,
    latents: tokens === undefined ? undefined : [readTokens(tokens, info)],
    strength,
    feather,
    step,
  });
}

function readFile(option: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "cannot be read";
    throw new UsageError(`--${option}: ${reason}`, { cause: error });
  }
}
