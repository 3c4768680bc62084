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

type Refuse = (field: "width" | "height", message: string) => never;

/** The size, with the side that is not given. Calls `refuse` for other proportions than the model's, and if a side would be too long. */
export function outputSizeOf(
  given: { readonly [Side in keyof OutputSize]?: number | null | undefined },
  { name, imageWidth, imageHeight }: ModelManifest,
  refuse: Refuse,
): OutputSize {
  const { width = null, height = null } = given;
  const heightOf = (side: number): number => Math.max(1, Math.round((side * imageHeight) / imageWidth));
  const widthOf = (side: number): number => Math.max(1, Math.round((side * imageWidth) / imageHeight));
  if (width !== null && height !== null) {
    if (heightOf(width) === height || widthOf(height) === width) return { width, height };
    const scale = Math.min(width / imageWidth, height / imageHeight);
    const within = [imageWidth, imageHeight].map((side) => Math.max(1, Math.round(side * scale))).join("x");
    const proportions = `the proportions of ${name}'s images, ${imageWidth}x${imageHeight}`;
    return refuse("height", `must have ${proportions}: the largest within ${width}x${height} is ${within}`);
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
