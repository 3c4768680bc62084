// The colours that stand for codes: the same as the decoder's, kept on disk, fit for the manifest.

import { existsSync, readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelManifest } from "@vqd/gpu-worker/serving/manifest.ts";
import { type CodeDecoder, computePalette, ensurePalette } from "../../gpu-worker/serving/palette.ts";
import { VQDiffusionPipeline } from "@vqd/gpu-worker/pipeline";
import { decodeManifest, encodeManifest } from "@vqd/shared/codec.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

/** A decoder whose images show the code of each latent pixel as its colour, 4 x 4 pixels each. */
function flatDecoder(numEmbeddings: number, side: number): CodeDecoder & { decoded: number } {
  const scale = 4;
  return {
    info: { version: "f".repeat(64), numEmbeddings, latentHeight: side, latentWidth: side },
    decoded: 0,
    async decode(latents) {
      this.decoded += latents.length;
      return latents.map((codes) => {
        const size = side * scale;
        const data = Uint8Array.from({ length: size * size * 3 }, (_, i) => {
          const pixel = Math.floor(i / 3);
          const row = Math.floor(Math.floor(pixel / size) / scale);
          const code = codes[row * side + Math.floor((pixel % size) / scale)] ?? 0;
          return [code % 256, Math.floor(code / 256), 7][i % 3] ?? 0;
        });
        return { width: size, height: size, data };
      });
    },
  };
}

describe("a palette", () => {
  it.each([
    [1_024, 16, 16],
    [100, 4, 25],
    [37, 5, 10],
    [3, 1, 3],
    [5, 32, 1],
  ])(
    "has the colour of each of %i codes of %i latent pixels a side, in %i decodes",
    async (codes, side, decodes) => {
      const decoder = flatDecoder(codes, side);
      const palette = await computePalette(decoder);
      expect(decoder.decoded).toBe(decodes);
      expect(palette).toEqual(
        Uint8Array.from(
          Array.from({ length: codes }, (_, code) => [code % 256, Math.floor(code / 256), 7]).flat(),
        ),
      );
    },
  );

  describe("of a checkpoint", () => {
    let pipeline: VQDiffusionPipeline;
    let cacheDir: string;
    beforeAll(async () => {
      cacheDir = await temporaryFolder();
      pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir });
    });
    afterAll(() => pipeline.release());

    it("is made once, kept, and made again when its file is damaged", async () => {
      const palette = await ensurePalette(pipeline, cacheDir);
      expect(palette).toHaveLength(3 * pipeline.info.numEmbeddings);
      expect(new Set(palette).size).toBeGreaterThan(3);
      const refusing: CodeDecoder = {
        info: pipeline.info,
        decode: () => Promise.reject(new Error("must not be needed")),
      };
      expect(await ensurePalette(refusing, cacheDir)).toEqual(palette);
      const [file = "", ...others] = readdirSync(join(cacheDir, "palettes"));
      expect(others).toEqual([]);
      truncateSync(join(cacheDir, "palettes", file), 10);
      await expect(ensurePalette(refusing, cacheDir)).rejects.toThrow("must not be needed");
      expect(existsSync(join(cacheDir, "palettes", file))).toBe(true);
      expect(await ensurePalette(pipeline, cacheDir)).toEqual(palette);
      expect(await ensurePalette(refusing, cacheDir)).toEqual(palette);
    });

    it("goes with the manifest, which takes no palette of another size", async () => {
      const manifest = modelManifest(pipeline.info, await ensurePalette(pipeline, cacheDir), "vqd/tiny");
      expect(decodeManifest(encodeManifest(manifest)).value).toEqual(manifest);
      expect(() =>
        decodeManifest(encodeManifest({ ...manifest, palette: manifest.palette?.slice(4) ?? "" })),
      ).toThrow(/one colour for each class/);
      expect(
        modelManifest({ ...pipeline.info, numEmbeddings: 20_000 }, new Uint8Array(60_000)),
      ).not.toHaveProperty("palette");
    });
  });
});
