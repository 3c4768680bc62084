// Opens the source that a call's options describe.

import { MAX_FEATHER } from "@vqd/shared/limits.ts";
import type { CallOptions } from "../call.ts";
import { InvalidInputError } from "../errors.ts";
import { openMask, pixelsOfFile } from "./mask.ts";
import { type MaskOf, openImage, openTokens, type OpenSource, type SourceModel } from "./open-source.ts";
import { SourceImage } from "./source-image.ts";

/** As in diffusers' pipelines from image to image. */
const DEFAULT_STRENGTH = 0.8;

/** Undefined if every image starts fully masked. Rejects with an InvalidInputError for options that contradict each other. */
export async function sourceOfCall(
  options: CallOptions,
  model: SourceModel,
): Promise<OpenSource | undefined> {
  const { latents, image, mask, held, strength, step, run, feather } = options;
  const refuse = (field: string, reason: string): never => {
    throw new InvalidInputError(field, reason);
  };
  if (image !== undefined && latents !== undefined) refuse("image", "cannot be given together with latents");
  if (image === undefined && latents === undefined) {
    for (const [field, value] of Object.entries({ mask, held, strength, step, feather })) {
      if (value !== undefined) refuse(field, "needs an image or latents");
    }
    return undefined;
  }
  if (step !== undefined && strength !== undefined) refuse("step", "cannot be given together with strength");
  if (run !== undefined && step === undefined) refuse("run", "needs a step");
  if (feather !== undefined && !(Number.isInteger(feather) && feather >= 0 && feather <= MAX_FEATHER)) {
    refuse("feather", `must be an integer from 0 to ${MAX_FEATHER}, not ${feather}`);
  }
  const source = image === undefined ? undefined : await SourceImage.open(image, "image");
  const found = await maskOfCall(options, source);
  if (feather !== undefined && (source === undefined || found === undefined)) {
    refuse("feather", "needs an image and a mask");
  }
  if (source !== undefined) {
    if (step !== undefined) refuse("step", "needs latents");
    const given = strength ?? (found === undefined ? DEFAULT_STRENGTH : 1);
    return openImage({ image: source, mask: found, strength: given, feather }, model);
  }
  if (found === "image_alpha") return refuse("mask", "cannot be the alpha of an image that is not given");
  const start = strength === undefined ? { step: step ?? 0, run } : { strength };
  return openTokens({ tokens: latents ?? [], mask: found, start }, model.info);
}

async function maskOfCall(
  { mask, held, maskChannel = "luminance" }: CallOptions,
  image: SourceImage | undefined,
): Promise<MaskOf | undefined> {
  if (mask !== undefined && held !== undefined) {
    throw new InvalidInputError("held", "cannot be given together with mask");
  }
  if (held !== undefined) return { held };
  if (mask === undefined || mask === "image_alpha") return mask;
  return { pixels: pixelsOfFile(await openMask(mask, image), maskChannel) };
}
