// What a job starts from: the source in the job, the bytes behind it, and how they are stored with the prediction.

import type { Source, SourceMask } from "@vqd/shared/editing/source.ts";
import { IMAGE_TYPES } from "../../prediction/image-type.ts";
import { type InputField, inputLink } from "../../prediction/input-links.ts";
import type { InputFile } from "../../prediction/records.ts";
import type { PredictionInput } from "../schemas.ts";
import type { Beginning, InputImage, InputTokens } from "./beginning.ts";
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

/** A file with its place in the input. */
interface Part {
  readonly field: InputField;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly file: InputFile;
}

const imagePart = (field: "image" | "mask", { bytes, type }: Pick<InputImage, "bytes" | "type">): Part => ({
  field,
  bytes,
  file: { field, name: `${field}.${type}`, contentType: IMAGE_TYPES[type], bytes: bytes.length },
});
const tokensPart = (bytes: Uint8Array<ArrayBuffer>): Part => ({
  field: "tokens",
  bytes,
  file: { field: "tokens", name: TOKENS_NAME, contentType: "application/octet-stream", bytes: bytes.length },
});

function startOf(source: Source, parts: readonly Part[], fields: Partial<PredictionInput>): Start {
  const attachment = new Uint8Array(parts.reduce((sum, { bytes }) => sum + bytes.length, 0));
  let at = 0;
  for (const { bytes } of parts) {
    attachment.set(bytes, at);
    at += bytes.length;
  }
  return { source, attachment, fields, files: parts.map(({ file }) => file) };
}

/** The start of a prediction of its own; undefined if it starts from nothing. `input` has passed checkStart. */
export function startOfInput(input: PredictionInput, { image, mask, tokens }: Beginning): Start | undefined {
  if (image !== undefined) return imageStart(input, image, mask);
  if (tokens === undefined) return undefined;
  return isDecoding(input) ? decodingStart(tokens) : tokensStart(input, tokens, mask);
}

function imageStart(input: PredictionInput, image: InputImage, mask: InputImage | undefined): Start {
  const channel = input.mask_channel ?? "luminance";
  const byAlpha = mask === undefined && channel === "alpha";
  const isMasked = mask !== undefined || byAlpha;
  const strength = input.strength ?? (mask === undefined ? DEFAULT_STRENGTH : 1);
  const feather = isMasked && input.output_format !== "tokens" ? (input.feather ?? DEFAULT_FEATHER) : null;
  const ofMask = mask === undefined ? { type: "image_alpha" as const } : maskOf(mask, channel);
  const source: Source = {
    type: "image",
    bytes: image.bytes.length,
    strength,
    ...(isMasked ? { mask: ofMask } : {}),
    ...(feather === null ? {} : { blend: { feather } }),
  };
  return startOf(
    source,
    [imagePart("image", image), ...(mask === undefined ? [] : [imagePart("mask", mask)])],
    {
      strength,
      ...(isMasked ? { mask_channel: channel } : {}),
      ...(feather === null ? {} : { feather }),
    },
  );
}

const maskOf = ({ bytes }: Pick<InputImage, "bytes">, channel: "luminance" | "alpha"): SourceMask => ({
  type: "file",
  channel,
  bytes: bytes.length,
});

function tokensStart(
  input: PredictionInput,
  { bytes, images }: InputTokens,
  mask: InputImage | undefined,
): Start {
  const channel = input.mask_channel ?? "luminance";
  const strength = input.strength ?? (mask === undefined ? DEFAULT_STRENGTH : 1);
  const source: Source = {
    type: "tokens",
    images,
    bytes: bytes.length,
    strength,
    ...(mask === undefined ? {} : { mask: maskOf(mask, channel) }),
  };
  return startOf(source, [tokensPart(bytes), ...(mask === undefined ? [] : [imagePart("mask", mask)])], {
    strength,
    ...(mask === undefined ? {} : { mask_channel: channel }),
  });
}

/** Tokens that are only decoded: the state after the last step of a run of one step. */
const decodingStart = ({ bytes, images }: InputTokens): Start =>
  startOf({ type: "tokens", images, bytes: bytes.length, step: 1 }, [tokensPart(bytes)], {});

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
  const held = mask === undefined ? fork.mask : { ...mask, channel: input.mask_channel ?? "luminance" };
  const source: Source = {
    type: "tokens",
    images,
    bytes: tokens.length,
    step,
    ...(held === undefined ? {} : { mask: maskOf(held, held.channel) }),
    ...(isSame ? {} : { run: runOf(before) }),
  };
  // Not a field of a fork's input: it has `from` instead.
  const state = { ...tokensPart(tokens).file, field: null };
  const start = startOf(
    source,
    [tokensPart(tokens), ...(held === undefined ? [] : [imagePart("mask", held)])],
    held === undefined ? {} : { mask_channel: held.channel },
  );
  return { ...start, files: [state, ...start.files.slice(1)] };
}

/** The files' links, for the record's input. */
export const linksOf = ({ files }: Start, capability: string): Partial<Record<InputField, string>> =>
  Object.fromEntries(
    files.flatMap(({ field, name }) => (field === null ? [] : [[field, inputLink(capability, name)]])),
  );
