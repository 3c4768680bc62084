// The colour that each code of the VQ model stands for, so that tokens can be displayed without decoding them.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { RgbImage } from "../pipeline/image.ts";
import type { PipelineInfo } from "../pipeline/pipeline.ts";
import { writeFileAtomic } from "../util/write-file-atomic.ts";

/** Incremented whenever the way colours are computed changes: part of the cached file's name. */
const PALETTE_FORMAT = 1;
const CHANNELS = 3;
/**
 * Side of a code's square, in latent pixels. Compared with images of the bundled model (mean colour of each latent
 * pixel, 1,024 codes): 1 gives 17.4 dB in 4 decodes, 2 gives 19.4 dB in 16, 4 gives 18.3 dB in 64. An image of a
 * single code is worst (15.4 dB): group norm removes its colour.
 */
const BLOCK = 2;

/** What computing a palette takes. */
export interface CodeDecoder {
  readonly info: Pick<PipelineInfo, "version" | "numEmbeddings" | "latentHeight" | "latentWidth">;
  /** Class ids without masks → images. */
  decode(latents: readonly Uint16Array[]): Promise<RgbImage[]>;
}

/**
 * Mean colour of each code among others: R, G, B bytes, 3 x `numEmbeddings`. Every code is decoded once, as a small
 * square among squares of codes from all over the codebook.
 */
export async function computePalette(decoder: CodeDecoder): Promise<Uint8Array<ArrayBuffer>> {
  const { numEmbeddings, latentHeight, latentWidth } = decoder.info;
  const rows = Math.max(1, Math.floor(latentHeight / BLOCK));
  const columns = Math.max(1, Math.floor(latentWidth / BLOCK));
  const perImage = rows * columns;
  const images = Math.ceil(numEmbeddings / perImage);
  const palette = new Uint8Array(numEmbeddings * CHANNELS);
  for (let index = 0; index < images; index++) {
    // Neighbouring codes can be alike; a stride of the number of images mixes them.
    const codeOf = (square: number): number => (index + square * images) % numEmbeddings;
    const codes = Uint16Array.from({ length: latentHeight * latentWidth }, (_, pixel) => {
      const row = Math.min(rows - 1, Math.floor(Math.floor(pixel / latentWidth) / BLOCK));
      const column = Math.min(columns - 1, Math.floor((pixel % latentWidth) / BLOCK));
      return codeOf(row * columns + column);
    });
    const [image] = await decoder.decode([codes]);
    if (image === undefined) throw new Error("the decoder returned no image");
    const height = Math.min(BLOCK, latentHeight) * (image.height / latentHeight);
    const width = Math.min(BLOCK, latentWidth) * (image.width / latentWidth);
    for (let square = 0; square < perImage; square++) {
      const top = Math.floor(square / columns) * height;
      const left = (square % columns) * width;
      palette.set(meanColour(image, { top, left, height, width }), codeOf(square) * CHANNELS);
    }
  }
  return palette;
}

interface Area {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

function meanColour(image: RgbImage, { top, left, height, width }: Area): number[] {
  return Array.from({ length: CHANNELS }, (_, channel) => {
    let sum = 0;
    for (let y = top; y < top + height; y++) {
      for (let x = left; x < left + width; x++) {
        sum += image.data[(y * image.width + x) * CHANNELS + channel] ?? outOfBounds();
      }
    }
    return Math.round(sum / (height * width));
  });
}

/** The checkpoint's palette from `cacheDir`, computed and stored there if it is missing or incomplete. */
export async function ensurePalette(
  decoder: CodeDecoder,
  cacheDir: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { version, numEmbeddings } = decoder.info;
  const dir = join(cacheDir, "palettes");
  const path = join(dir, `${version.slice(0, 24)}-${PALETTE_FORMAT}.rgb`);
  const known = readIfThere(path);
  if (known?.length === numEmbeddings * CHANNELS) return known;
  const palette = await computePalette(decoder);
  writeFileAtomic(path, palette);
  return palette;
}

function readIfThere(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
