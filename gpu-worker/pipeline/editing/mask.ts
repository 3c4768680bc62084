// What is made anew: masks in pixels and in tokens, and how an image is blended into its source.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { InvalidInputError } from "../errors.ts";
import type { ImageSize, RgbImage } from "../image.ts";
import { SourceImage } from "./source-image.ts";

/** For each pixel of an image of that size, row-major: from 0, kept, to 255, made anew. */
export type PixelMask = (size: ImageSize) => Promise<Uint8Array>;

/** Of a pixel from which on its token is free. */
const FREE_FROM = 128;
const FULL = 255;

/** [L], row-major: 1 for tokens that are held, since none of their pixels is at least half to be made anew; 0 for free ones. */
export function heldTokens(mask: Uint8Array, pixels: ImageSize, grid: ImageSize): Uint8Array {
  const held = new Uint8Array(grid.width * grid.height).fill(1);
  for (let y = 0; y < pixels.height; y++) {
    for (let x = 0; x < pixels.width; x++) {
      if ((mask[y * pixels.width + x] ?? outOfBounds()) >= FREE_FROM) held[tokenAt(x, y, pixels, grid)] = 0;
    }
  }
  return held;
}

/** The mask in pixels that tokens are. */
export const pixelsOfTokens =
  (held: Uint8Array, grid: ImageSize): PixelMask =>
  (pixels) => {
    const mask = new Uint8Array(pixels.width * pixels.height);
    for (let y = 0; y < pixels.height; y++) {
      for (let x = 0; x < pixels.width; x++) {
        mask[y * pixels.width + x] = held[tokenAt(x, y, pixels, grid)] === 1 ? 0 : FULL;
      }
    }
    return Promise.resolve(mask);
  };

const tokenAt = (x: number, y: number, pixels: ImageSize, grid: ImageSize): number =>
  Math.floor((y * grid.height) / pixels.height) * grid.width + Math.floor((x * grid.width) / pixels.width);

/** A mask of one bit per token, the lowest of a byte first, 1 for free; as `heldTokens` gives it. Throws InvalidInputError. */
export function heldOfBits(bits: Uint8Array, tokens: number): Uint8Array {
  const bytes = Math.ceil(tokens / 8);
  if (bits.length !== bytes) {
    throw new InvalidInputError(
      "mask",
      `must have ${bytes} bytes, a bit for each of ${tokens} tokens, not ${bits.length}`,
    );
  }
  return Uint8Array.from(
    { length: tokens },
    (_, i) => 1 - (((bits[i >> 3] ?? outOfBounds()) >> (i & 7)) & 1),
  );
}

/** A mask of the image's size, or of any if there is no image. Rejects with an InvalidInputError. */
export async function openMask(
  mask: Uint8Array | RgbImage,
  image: SourceImage | undefined,
): Promise<SourceImage> {
  const opened = await SourceImage.open(mask, "mask");
  const { width, height } = opened.size;
  const wanted = image?.size ?? opened.size;
  if (width === wanted.width && height === wanted.height) return opened;
  const sizes = `${wanted.width}x${wanted.height} pixels, not ${width}x${height}`;
  throw new InvalidInputError("mask", `must have the size of the image, ${sizes}`);
}

/** The mask that an image file is. Throws an InvalidInputError if it has no alpha channel and that is asked for. */
export function pixelsOfFile(file: SourceImage, channel: "luminance" | "alpha"): PixelMask {
  if (channel === "luminance") return (size) => file.luminance(size);
  if (!file.hasAlpha) throw new InvalidInputError("mask", "has no alpha channel");
  return (size) => file.transparency(size);
}

/**
 * w * made + (1 - w) * source, rounded, of three images of one size: w is the mask, from 0 to 1, times min(1, d / (feather + 1)),
 * d being the distance in steps along rows, columns and diagonals to the nearest pixel whose mask is 0. Where the mask is 0,
 * the result is the source, bit for bit.
 */
export function blended(made: RgbImage, source: RgbImage, mask: Uint8Array, feather: number): RgbImage {
  const distances = distancesToZero(mask, made, feather + 1);
  const data = made.data.map((value, i) => {
    const pixel = Math.floor(i / 3);
    const share = (distances[pixel] ?? outOfBounds()) / (feather + 1);
    const weight = ((mask[pixel] ?? outOfBounds()) / FULL) * share;
    return Math.round(weight * value + (1 - weight) * (source.data[i] ?? outOfBounds()));
  });
  return { width: made.width, height: made.height, data };
}

/** The chessboard distance of each pixel to the nearest that is 0, at most `limit`; exact after one pass from each corner. */
function distancesToZero(mask: Uint8Array, { width, height }: ImageSize, limit: number): Uint8Array {
  const distances = mask.map((value) => (value === 0 ? 0 : limit));
  const relax = (x: number, y: number, neighbours: readonly (readonly [number, number])[]): void => {
    const at = y * width + x;
    for (const [dx, dy] of neighbours) {
      if (x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height) continue;
      const other = distances[(y + dy) * width + x + dx] ?? outOfBounds();
      if (other + 1 < (distances[at] ?? outOfBounds())) distances[at] = other + 1;
    }
  };
  const before = [
    [-1, -1],
    [0, -1],
    [1, -1],
    [-1, 0],
  ] as const;
  const after = [
    [1, 1],
    [0, 1],
    [-1, 1],
    [1, 0],
  ] as const;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) relax(x, y, before);
  for (let y = height - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--) relax(x, y, after);
  return distances;
}
