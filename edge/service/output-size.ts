// The size of the files that a caller asks for: images are resampled to it, and keep the proportions that the model gives them.

import { MAX_IMAGE_SIDE } from "@vqd/shared/limits.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";

/** In pixels; null for the model's own. */
export interface OutputSize {
  readonly width: number | null;
  readonly height: number | null;
}

export const isOwnSize = ({ width, height }: OutputSize, model: ModelManifest): boolean =>
  width === model.imageWidth && height === model.imageHeight;

type Refuse = (field: "width" | "height" | "size" | "aspect_ratio", message: string) => never;

/** How a request may name a size. */
interface GivenSize {
  readonly width?: number | null | undefined;
  readonly height?: number | null | undefined;
  /** `256x256` */
  readonly size?: string | null | undefined;
  /** `1:1` */
  readonly aspect_ratio?: string | null | undefined;
}

/** The sides that `size` names. */
function sidesOf(size: string, { width, height }: GivenSize, refuse: Refuse): OutputSize {
  const [w = 0, h = 0] = size.split("x").map(Number);
  if ((width ?? w) !== w || (height ?? h) !== h) refuse("size", "contradicts width or height");
  if (Math.max(w, h) > MAX_IMAGE_SIDE) refuse("size", `must have at most ${MAX_IMAGE_SIDE} pixels per side`);
  return { width: w, height: h };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function checkRatio(ratio: string, { name, imageWidth, imageHeight }: ModelManifest, refuse: Refuse): void {
  const [across = 0, down = 0] = ratio.split(":").map(Number);
  if (across * imageHeight === down * imageWidth) return;
  const divisor = greatestCommonDivisor(imageWidth, imageHeight);
  const own = `${imageWidth / divisor}:${imageHeight / divisor}`;
  refuse("aspect_ratio", `must be ${own} or omitted: the proportions of ${name}'s images`);
}

/**
 * The size, with the side that is not given; nulls for the model's own. Calls `refuse` for other proportions than the model's, and
 * if a side would be too long.
 */
export function outputSizeOf(given: GivenSize, model: ModelManifest, refuse: Refuse): OutputSize {
  const { name, imageWidth, imageHeight } = model;
  if (given.aspect_ratio) checkRatio(given.aspect_ratio, model, refuse);
  const { width = null, height = null } = given.size ? sidesOf(given.size, given, refuse) : given;
  const heightOf = (side: number): number => Math.max(1, Math.round((side * imageHeight) / imageWidth));
  const widthOf = (side: number): number => Math.max(1, Math.round((side * imageWidth) / imageHeight));
  if (width !== null && height !== null) {
    if (heightOf(width) === height || widthOf(height) === width) return { width, height };
    const scale = Math.min(width / imageWidth, height / imageHeight);
    const within = [imageWidth, imageHeight].map((side) => Math.max(1, Math.round(side * scale))).join("x");
    const proportions = `the proportions of ${name}'s images, ${imageWidth}x${imageHeight}`;
    return refuse(
      given.size ? "size" : "height",
      `must have ${proportions}: the largest within ${width}x${height} is ${within}`,
    );
  }
  if (width === null && height === null) return { width, height };
  const whole = { width: width ?? widthOf(height ?? 0), height: height ?? heightOf(width ?? 0) };
  if (Math.max(whole.width, whole.height) > MAX_IMAGE_SIDE) {
    const implied = `${whole.width}x${whole.height}`;
    const message = `implies ${implied}, and an image may have ${MAX_IMAGE_SIDE} pixels per side`;
    return refuse(width === null ? "height" : "width", message);
  }
  return whole;
}
