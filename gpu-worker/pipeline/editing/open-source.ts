// What images start from, opened for a model: tokens, which of them are held, and how the result is blended into the source.

import { type ImageSize, type RgbImage, resampled } from "../image.ts";
import type { PipelineInfo } from "../info.ts";
import type { SlotStart } from "../slot.ts";
import { blended, heldTokens, type PixelMask, pixelsOfTokens } from "./mask.ts";
import type { SourceImage } from "./source-image.ts";

/** What opening a source takes of a pipeline. */
export interface SourceModel {
  readonly info: PipelineInfo;
  /** An image of the model's size → codes [L]. */
  readonly encodeImage: (image: RgbImage) => Promise<Uint16Array>;
}

/** A source, ready for the slots of its images. */
export interface OpenSource {
  readonly start: SlotStart;
  /** [L], 1 for tokens that are held; undefined without a mask. */
  readonly held: Uint8Array | undefined;
  /** Of each image, or of one for all; a new copy for each call. Not needed to continue from a stored state. */
  tokens(): Promise<Uint16Array[]>;
  /** Brings an image to its output's size and blends it into the source; undefined if that was not asked for. */
  readonly blend: ((image: RgbImage, size: ImageSize) => Promise<RgbImage>) | undefined;
}

/** What is made anew, and held elsewhere: pixels of an image, the image's own transparency, or tokens as `heldTokens` gives them. */
export type MaskOf = { readonly pixels: PixelMask } | "image_alpha" | { readonly held: Uint8Array };

export interface ImageStart {
  readonly image: SourceImage;
  readonly mask?: MaskOf | undefined;
  /** 0 to 1. */
  readonly strength: number;
  /** The feather of `blended`, if the result is to be blended. */
  readonly feather?: number | undefined;
}

const sizeOf = ({ imageWidth, imageHeight }: PipelineInfo): ImageSize => ({
  width: imageWidth,
  height: imageHeight,
});
const gridOf = ({ latentWidth, latentHeight }: PipelineInfo): ImageSize => ({
  width: latentWidth,
  height: latentHeight,
});

/** [L]: 1 for each token that a mask holds. */
export async function heldOf(
  mask: { pixels: PixelMask } | { held: Uint8Array },
  info: PipelineInfo,
): Promise<Uint8Array> {
  if ("held" in mask) return mask.held;
  const size = sizeOf(info);
  return heldTokens(await mask.pixels(size), size, gridOf(info));
}

/**
 * An image as the source: cut to the model's size and encoded. With the mask "image_alpha", an image with transparent parts is
 * made anew there whatever the strength, and one without is made anew as a whole, at the strength given. Rejects with an
 * InvalidInputError if image or mask cannot be decoded.
 */
export async function openImage(
  { image, mask, strength, feather }: ImageStart,
  { info, encodeImage }: SourceModel,
): Promise<OpenSource> {
  const isOwn = mask === "image_alpha";
  const asked = isOwn ? { pixels: (size: ImageSize) => image.transparency(size) } : mask;
  const found = asked && (await heldOf(asked, info));
  const isWhole = found === undefined || (isOwn && !found.includes(0));
  const tokens = async (): Promise<Uint16Array[]> => [await encodeImage(await image.rgb(sizeOf(info)))];
  if (asked === undefined || isWhole)
    return { start: { strength }, held: undefined, tokens, blend: undefined };
  const pixels = "held" in asked ? pixelsOfTokens(asked.held, gridOf(info)) : asked.pixels;
  return {
    start: { strength: isOwn ? 1 : strength },
    held: found,
    tokens,
    blend:
      feather === undefined
        ? undefined
        : async (made, size) =>
            blended(await resampled(made, size), await image.rgb(size), await pixels(size), feather),
  };
}

/** Tokens as the source: [L] of each image, or of one for all. Rejects with an InvalidInputError if the mask cannot be decoded. */
export async function openTokens(
  {
    tokens,
    mask,
    start,
  }: {
    readonly tokens: readonly Uint16Array[];
    readonly mask?: Exclude<MaskOf, "image_alpha"> | undefined;
    readonly start: SlotStart;
  },
  info: PipelineInfo,
): Promise<OpenSource> {
  return {
    start,
    held: mask && (await heldOf(mask, info)),
    tokens: () => Promise.resolve(tokens.map((one) => one.slice())),
    blend: undefined,
  };
}
