// Turns a job's decoded images into the files that it asks for.

import type { ImageFormat, Job } from "@vqd/shared/job.ts";
import type { OpenSource } from "../pipeline/editing/open-source.ts";
import { encodeImageFile, type RgbImage } from "../pipeline/image.ts";

export interface ImageFile {
  readonly format: ImageFormat;
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8Array;
}

export type FileEncoder = (image: RgbImage) => Promise<ImageFile>;

/** Undefined for a job that asks for tokens: nothing is decoded for it. `blend` is that of its source. */
export function fileEncoder(job: Job, blend: OpenSource["blend"]): FileEncoder | undefined {
  const { outputFormat: format, outputQuality: quality } = job;
  if (format === "tokens") return undefined;
  return async (image) => {
    const { width, height } = job.outputSize ?? image;
    const size = { width, height };
    const shown = blend === undefined ? image : await blend(image, size);
    return { format, width, height, bytes: await encodeImageFile(shown, format, quality, size) };
  };
}
