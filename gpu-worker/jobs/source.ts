// Opens what a job's images start from: the bytes that came with it.

import { decodeTokens } from "@vqd/shared/codec.ts";
import { type Source, type SourceMask } from "@vqd/shared/editing/source.ts";
import type { Job } from "@vqd/shared/job.ts";
import { InvalidInputError } from "../pipeline/errors.ts";
import { heldOfBits, openMask, pixelsOfFile } from "../pipeline/editing/mask.ts";
import type { PipelineInfo } from "../pipeline/pipeline.ts";
import {
  heldOf,
  type MaskOf,
  openImage,
  openTokens,
  type OpenSource,
  type SourceModel,
} from "../pipeline/editing/open-source.ts";
import { SourceImage } from "../pipeline/editing/source-image.ts";

/** Rejects with an InvalidInputError that names `image`, `mask` or `tokens` if they cannot be read or do not fit the model. */
export async function openSource(
  job: Pick<Job, "numInferenceSteps">,
  source: Source,
  bytes: Uint8Array,
  model: SourceModel,
): Promise<OpenSource> {
  const own = bytes.subarray(0, source.bytes);
  const maskBytes = bytes.subarray(source.bytes);
  const { info } = model;
  const pixels = info.latentHeight * info.latentWidth;
  if (source.type === "image") {
    const image = await SourceImage.open(own, "image");
    const mask = await maskOf(source.mask, maskBytes, { image, info });
    return openImage({ image, mask, strength: source.strength, feather: source.blend?.feather }, model);
  }
  const wanted = source.images * pixels * Uint16Array.BYTES_PER_ELEMENT;
  if (own.length !== wanted) {
    throw new InvalidInputError(
      "tokens",
      `must be ${pixels} per image, not ${own.length / 2 / source.images}`,
    );
  }
  const ids = decodeTokens(own);
  const { strength, step = 0, run } = source;
  const start = strength === undefined ? { step, run } : { strength };
  const isFinished = strength !== undefined || makesNoStep(job, { start });
  const highest = info.numEmbeddings - (isFinished ? 1 : 0);
  if (ids.some((id) => id > highest)) {
    const why = isFinished ? ", as a finished image has no masked ones" : "";
    throw new InvalidInputError("tokens", `must be class ids from 0 to ${highest}${why}`);
  }
  const tokens = Array.from({ length: source.images }, (_, i) => ids.slice(i * pixels, (i + 1) * pixels));
  const mask = await maskOf(source.mask, maskBytes, { image: undefined, info });
  // The schema admits neither for tokens.
  if (mask === "image_alpha") throw new InvalidInputError("mask", "is of an image that is not given");
  return openTokens({ tokens, mask, start }, info);
}

async function maskOf(
  mask: SourceMask | undefined,
  bytes: Uint8Array,
  { image, info }: { image: SourceImage | undefined; info: PipelineInfo },
): Promise<MaskOf | undefined> {
  if (mask === undefined || mask.type === "image_alpha") return mask?.type;
  if (mask.type === "tokens") return { held: heldOfBits(bytes, info.latentHeight * info.latentWidth) };
  const file = await openMask(bytes, image);
  if (mask.channel !== "image_alpha") return { pixels: pixelsOfFile(file, mask.channel) };
  const held = await heldOf({ pixels: (size) => file.transparency(size) }, info);
  return held.includes(0) ? { held } : undefined;
}

/** Whether a job makes no step, so that nobody reads its prompts. */
export function makesNoStep(
  job: Pick<Job, "numInferenceSteps">,
  { start }: Pick<OpenSource, "start">,
): boolean {
  if ("strength" in start) return start.strength === 0;
  return start.step >= (start.run?.numInferenceSteps ?? job.numInferenceSteps);
}
