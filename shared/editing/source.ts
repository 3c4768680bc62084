// What the images of a job start from instead of noise alone: an image, or tokens. The bytes follow the job's line of JSON.

import { z } from "zod";
import { MAX_FEATHER, MAX_IMAGES, MAX_SOURCE_BYTES, MAX_TIMESTEPS } from "../limits.ts";
import { ORDERS, PRIOR_RULES, SCHEDULERS } from "../sampling/choices.ts";
import { inferSpeedSchema } from "../sampling/original.ts";

export const MASK_CHANNELS = ["luminance", "alpha", "image_alpha"] as const;
export type MaskChannel = (typeof MASK_CHANNELS)[number];

const bytes = z.int().min(1).max(MAX_SOURCE_BYTES);

/**
 * What is made anew. Tokens of which no pixel is to be made anew are held: they keep their class at every step. Each kind of
 * mask has the same polarity: white, transparent or 1 is made anew.
 */
const maskSchema = z.discriminatedUnion("type", [
  /**
   * An image file of `bytes` bytes, after the source's. With an image it has the image's size in pixels; with tokens it is
   * cropped and scaled as an image is. By luminance white is made anew, by alpha what is transparent. "image_alpha" is for tokens
   * that were made from that image with the mask of this name: without transparent parts it holds nothing.
   */
  z.strictObject({ type: z.literal("file"), channel: z.enum(MASK_CHANNELS), bytes }),
  /**
   * The transparent parts of the image itself, which start masked whatever the strength: there is nothing to begin with. Of an
   * image without any, everything is made anew, at the strength given.
   */
  z.strictObject({ type: z.literal("image_alpha") }),
  /** One bit per token, after the source: token i is bit i % 8, the lowest first, of byte floor(i / 8); 1 is made anew. */
  z.strictObject({ type: z.literal("tokens"), bytes }),
]);
export type SourceMask = z.infer<typeof maskSchema>;

/** How far back to begin: 0 keeps the source, 1 ignores it except where it is held; see docs/editing.md. */
const strength = z.number().min(0).max(1);

const imageSourceSchema = z.strictObject({
  type: z.literal("image"),
  /** Length of the image file. All images of the job start from it. */
  bytes,
  mask: maskSchema.optional(),
  strength,
  /**
   * Pixels that are not made anew are the image's own in the output, and those that are fade in over `feather` pixels.
   * [the output is what the model decodes]
   */
  blend: z.strictObject({ feather: z.int().min(0).max(MAX_FEATHER) }).optional(),
});

const tokensSourceSchema = z.strictObject({
  type: z.literal("tokens"),
  /** Images in the source: 1, from which all of the job's start, or one for each. */
  images: z.int().min(1).max(MAX_IMAGES),
  /** Length of the tokens: latentHeight x latentWidth class ids (uint16 LE) of each image. */
  bytes,
  mask: maskSchema.optional(),
  /** The tokens are those of a finished image. Exactly one of `strength` and `step` is given. */
  strength: strength.optional(),
  /**
   * The tokens are the state after so many steps, and may include masks; 0 is the start. After the last step there is
   * nothing left to do but to decode them.
   */
  step: z.int().min(0).max(MAX_TIMESTEPS).optional(),
  /** The settings of the run whose state it is, as far as they decide its timesteps. [the job's own] */
  run: z
    .strictObject({
      numInferenceSteps: z.int().min(1).max(MAX_TIMESTEPS),
      scheduler: z.enum(SCHEDULERS),
      order: z.enum(ORDERS).optional(),
      /** Of the scheduler "original", whose timesteps follow from both. [1, and 0] */
      inferSpeed: inferSpeedSchema.optional(),
      priorRule: z.literal(PRIOR_RULES).optional(),
    })
    .optional(),
});

export const sourceSchema = z
  .discriminatedUnion("type", [imageSourceSchema, tokensSourceSchema])
  .superRefine((source, context) => {
    const refuse = (message: string, ...path: string[]): void =>
      context.addIssue({ code: "custom", message, path });
    if (sourceBytes(source) > MAX_SOURCE_BYTES) {
      refuse(`has more than ${MAX_SOURCE_BYTES} bytes together with its mask`, "bytes");
    }
    if (source.type === "image") {
      if (source.blend !== undefined && source.mask === undefined) refuse("needs a mask", "blend");
      return;
    }
    if (source.bytes % (2 * source.images) !== 0)
      refuse("is not a whole number of tokens per image", "bytes");
    if (source.mask?.type === "image_alpha") refuse("is of an image, and tokens have none", "mask");
    if ((source.strength === undefined) === (source.step === undefined)) {
      refuse("must be given, or strength: one of the two", "step");
    }
    if (source.run !== undefined && source.step === undefined) refuse("needs a step", "run");
  });
export type Source = z.infer<typeof sourceSchema>;
export type ImageSource = Extract<Source, { type: "image" }>;
export type TokensSource = Extract<Source, { type: "tokens" }>;

/** Length of a mask in a job's attachment, where it follows the source's own bytes. */
export const maskBytes = (mask: SourceMask | undefined): number =>
  mask === undefined || mask.type === "image_alpha" ? 0 : mask.bytes;

/** Length of a job's attachment: the source's bytes, then its mask's. */
export const sourceBytes = ({ bytes: own, mask }: Pick<Source, "bytes" | "mask">): number =>
  own + maskBytes(mask);
