// Images in memory and as files.

import sharp, { type Sharp } from "sharp";
import type { ImageFormat } from "@vqd/shared/job.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";

export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** Row-major, 3 bytes per pixel. */
  readonly data: Uint8Array;
}

export type ImageSize = Pick<RgbImage, "width" | "height">;

const CHANNELS = 3;

/** The number of bytes that an image's data must have. */
export const rgbBytes = ({ width, height }: RgbImage): number => width * height * CHANNELS;

/**
 * Converts the decoder's output (planes R, G, B in -1 .. 1) to bytes as the reference does: x/2 + 0.5, clamped, times
 * 255, rounded half to even.
 */
export function toRgbImage(planes: Float32Array, width: number, height: number): RgbImage {
  const pixels = width * height;
  const data = new Uint8Array(pixels * CHANNELS);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < CHANNELS; channel++) {
      // fround wherever the reference computes in fp32: it decides on which side of a half the value falls.
      const unit = Math.fround(Math.fround((planes[channel * pixels + pixel] ?? outOfBounds()) / 2) + 0.5);
      data[pixel * CHANNELS + channel] = roundHalfEven(Math.fround(Math.min(1, Math.max(0, unit)) * 255));
    }
  }
  return { width, height, data };
}

/** Converts bytes to planes R, G, B in -1 .. 1, the encoder's input. */
export function toPlanes({ width, height, data }: RgbImage): Float32Array {
  const pixels = width * height;
  const planes = new Float32Array(pixels * CHANNELS);
  for (let i = 0; i < data.length; i++) {
    planes[(i % CHANNELS) * pixels + Math.floor(i / CHANNELS)] = (data[i] ?? outOfBounds()) / 127.5 - 1;
  }
  return planes;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Quality of a lossy file unless another is given. */
const DEFAULT_QUALITY = 80;

/**
 * Encodes the image as a file without metadata: the same pixels give the same bytes. `quality` is 0 to 100 and has no
 * effect on PNG, which is lossless. An image that has another `size` is resampled to it: bicubic (Catmull-Rom) where it
 * is enlarged, Lanczos with a = 3 where it is reduced.
 */
export function encodeImageFile(
  image: RgbImage,
  format: ImageFormat,
  quality = DEFAULT_QUALITY,
  size: ImageSize = image,
): Promise<Uint8Array> {
  const isResampled = !isOfSize(image, size);
  // Filtered rows halve a PNG of smooth gradients, which a resampled image has, and do nothing for the model's own pixels.
  // For PNG, quality would mean a palette; the other encoders count it from 1.
  const options = format === "png" ? { adaptiveFiltering: isResampled } : { quality: Math.max(1, quality) };
  return resized(image, size).toFormat(format, options).toBuffer();
}

/** The image at another size, as `encodeImageFile` resamples it; itself if it has that size. */
export async function resampled(image: RgbImage, size: ImageSize): Promise<RgbImage> {
  if (isOfSize(image, size)) return image;
  return { ...size, data: await resized(image, size).raw().toBuffer() };
}

const isOfSize = (image: ImageSize, { width, height }: ImageSize): boolean =>
  image.width === width && image.height === height;

function resized(image: RgbImage, size: ImageSize): Sharp {
  const { width, height, data } = image;
  const source = sharp(data, { raw: { width, height, channels: CHANNELS } });
  if (isOfSize(image, size)) return source;
  return source.resize(size.width, size.height, { fit: "fill", kernel: "lanczos3" });
}
