// What a job starts from: the source in the job, the bytes behind it, and how they are stored with the prediction.

import type { MaskChannel, Source, SourceMask } from "@vqd/shared/editing/source.ts";
import { IMAGE_TYPES } from "../../prediction/image-type.ts";
import { type InputField, inputLink } from "../../prediction/input-links.ts";
import type { InputFile } from "../../prediction/records.ts";
import type { PredictionInput } from "../schemas.ts";
import type { Beginning, InputImage } from "./beginning.ts";
import { isDecoding } from "./check.ts";
import { type Fork, runOf } from "./fork.ts";

const DEFAULT_STRENGTH = 0.8;
const DEFAULT_FEATHER = 4;
const TOKENS_NAME = "tokens.bin";

export interface Start {
  readonly source: Source;
  /** In the order in which they follow the job. */
  readonly files: readonly InputFile[];
  readonly attachment: Uint8Array<ArrayBuffer>;
  /** Fields of the completed input that are about it, but for the links to the files. */
  readonly fields: Partial<PredictionInput>;
}

interface Part {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly file: Omit<InputFile, "bytes">;
}

type Image = Pick<InputImage, "bytes" | "type">;

const imagePart = ({ bytes, type }: Image, isMask: boolean): Part => ({
  bytes,
  file: {
    field: "image",
    name: `image.${type}`,
    contentType: IMAGE_TYPES[type],
    ...(isMask ? { channel: "image_alpha" } : {}),
  },
});
const maskPart = ({ bytes, type }: Image, channel: MaskChannel, field: "mask" | null = "mask"): Part => ({
  bytes,
  file: { field, name: `mask.${type}`, contentType: IMAGE_TYPES[type], channel },
});
const tokensPart = (bytes: Uint8Array<ArrayBuffer>, field: "tokens" | null = "tokens"): Part => ({
  bytes,
  file: { field, name: TOKENS_NAME, contentType: "application/octet-stream" },
});

function startOf(source: Source, parts: readonly Part[], fields: Partial<PredictionInput>): Start {
  const attachment = new Uint8Array(parts.reduce((sum, { bytes }) => sum + bytes.length, 0));
  let at = 0;
  for (const { bytes } of parts) {
    attachment.set(bytes, at);
    at += bytes.length;
  }
  const files = parts.map(({ file, bytes }) => ({ ...file, bytes: bytes.length }));
  return { source, attachment, fields, files };
}

const maskOf = ({ bytes, file }: Part): { mask: SourceMask } => ({
  mask: { type: "file", channel: file.channel ?? "luminance", bytes: bytes.length },
});

/** The start of a prediction of its own; undefined if it starts from nothing. `input` has passed checkStart. */
export function startOfInput(input: PredictionInput, { image, mask, tokens }: Beginning): Start | undefined {
  const channel = input.mask_channel ?? "luminance";
  const part = mask && maskPart(mask, channel);
  const strength = input.strength ?? (part === undefined ? DEFAULT_STRENGTH : 1);
  const masked = part === undefined ? {} : { mask_channel: channel };
  if (image !== undefined) return imageStart(input, image, part, strength);
  if (tokens === undefined) return undefined;
  const { bytes, images } = tokens;
  const source = { type: "tokens", images, bytes: bytes.length } as const;
  // The state after the last step of a run of one step.
  if (isDecoding(input)) return startOf({ ...source, step: 1 }, [tokensPart(bytes)], {});
  const parts = [tokensPart(bytes), ...(part === undefined ? [] : [part])];
  return startOf({ ...source, strength, ...(part && maskOf(part)) }, parts, { strength, ...masked });
}

function imageStart(
  input: PredictionInput,
  image: InputImage,
  mask: Part | undefined,
  strength: number,
): Start {
  const isOwnMask = mask === undefined && input.mask_channel === "alpha";
  const isMasked = mask !== undefined || isOwnMask;
  const feather = isMasked && input.output_format !== "tokens" ? (input.feather ?? DEFAULT_FEATHER) : null;
  const source: Source = {
    type: "image",
    bytes: image.bytes.length,
    strength,
    ...(isOwnMask ? { mask: { type: "image_alpha" } } : {}),
    ...(mask && maskOf(mask)),
    ...(feather === null ? {} : { blend: { feather } }),
  };
  return startOf(source, [imagePart(image, isOwnMask), ...(mask === undefined ? [] : [mask])], {
    strength,
    ...(isMasked ? { mask_channel: input.mask_channel ?? "luminance" } : {}),
    ...(feather === null ? {} : { feather }),
  });
}

/** The start of a fork, whose own timesteps are those of the completed `input`. `mask` replaces the one that was held before. */
export function startOfFork(
  fork: Fork,
  input: Pick<PredictionInput, "num_inference_steps" | "scheduler" | "order" | "mask_channel">,
  mask: InputImage | undefined,
): Start | undefined {
  const { input: before, images, step, tokens } = fork;
  // From the start: every token is masked, as without a source.
  if (tokens === undefined) return undefined;
  const isSame = (["num_inference_steps", "scheduler", "order"] as const).every(
    (name) => before[name] === input[name],
  );
  const channel = input.mask_channel ?? "luminance";
  // What is taken over has no field in the input, which has `from`.
  const inherited = fork.mask && maskPart(fork.mask, fork.mask.channel, null);
  const part = mask === undefined ? inherited : maskPart(mask, channel);
  const source: Source = {
    type: "tokens",
    images,
    bytes: tokens.length,
    step,
    ...(part && maskOf(part)),
    ...(isSame ? {} : { run: runOf(before) }),
  };
  const parts = [tokensPart(tokens, null), ...(part === undefined ? [] : [part])];
  return startOf(source, parts, mask === undefined ? {} : { mask_channel: channel });
}

/** The files' links, for the record's input. */
export const linksOf = ({ files }: Start, capability: string): Partial<Record<InputField, string>> =>
  Object.fromEntries(
    files.flatMap(({ field, name }) => (field === null ? [] : [[field, inputLink(capability, name)]])),
  );
