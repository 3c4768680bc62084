// Whole pictures of the bundled model, ours beside the plain graph, in one run.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { encodeImageFile } from "../../gpu-worker/pipeline/image.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { PlainModel } from "./plain.ts";
import { type Spread, time } from "./step-case.ts";

const PROMPT = "grinning face, flat style";
const STEPS = 100;
/** Of the plain graph's steps, which all cost the same, this many are made; the time of the rest follows. */
const PLAIN_STEPS = 20;

export interface EndToEnd {
  readonly images: number;
  readonly ours_s: number;
  readonly plain_s: number;
  readonly ratio: number;
}

const random = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i));

/** One guided image's pass of a checkpoint's plain graph. */
export async function measurePlainStep(
  model: string,
  cacheDir: string,
  threads: number,
  repeats: number,
): Promise<Spread> {
  const plain = await PlainModel.load(model, cacheDir, threads);
  try {
    const { pixels, textSize } = plain;
    const tokens = new Uint16Array(pixels).map((_, i) => i % 100);
    const text = random(textSize);
    return await time(repeats, () => plain.predict([tokens, tokens], 50, [text, text]));
  } finally {
    await plain.release();
  }
}

/** From prompt to PNG. */
export async function measureEndToEnd(cacheDir: string, threads: number): Promise<EndToEnd[]> {
  const graphs = mkdtempSync(join(tmpdir(), "vqd-bench-"));
  const load = (quantization: "int8" | "none") =>
    VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, { threads, quantization, cacheDir: graphs });
  const results: EndToEnd[] = [];
  try {
    for (const images of [1, 8]) {
      const ours = await load("int8");
      const call = async (numImagesPerPrompt: number): Promise<void> => {
        const made = await ours.call({
          prompt: PROMPT,
          seed: 7,
          numImagesPerPrompt,
          numInferenceSteps: STEPS,
        });
        await Promise.all(made.images.map((image) => encodeImageFile(image, "png")));
      };
      await ours.call({ prompt: PROMPT, seed: 7, numInferenceSteps: 2 });
      const oursMs = await elapsed(() => call(images));
      await ours.release();

      const rest = await load("none");
      const plain = await PlainModel.load(BUNDLED_MODEL, cacheDir, threads);
      const text = random(plain.textSize);
      const latents = rest.prepareLatents(images);
      await plain.denoise(rest, latents, [text, text], [0, 2]);
      const stepsMs = await elapsed(() => plain.denoise(rest, latents, [text, text], [0, PLAIN_STEPS]));
      const { ids } = rest.tokenize(PROMPT);
      const decodeMs = await elapsed(async () => {
        await rest.encodePrompt([ids]);
        const decoded = await rest.decode(latents.map((tokens) => tokens.map((token) => token % 1024)));
        await Promise.all(decoded.map((image) => encodeImageFile(image, "png")));
      });
      await Promise.all([plain.release(), rest.release()]);
      const plainMs = (stepsMs * STEPS) / PLAIN_STEPS + decodeMs;
      results.push({
        images,
        ours_s: Math.round(oursMs / 10) / 100,
        plain_s: Math.round(plainMs / 10) / 100,
        ratio: Math.round((100 * plainMs) / oursMs) / 100,
      });
    }
  } finally {
    rmSync(graphs, { recursive: true, force: true });
  }
  return results;
}

async function elapsed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
