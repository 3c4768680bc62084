// Whole images of the bundled model, ours beside the plain graph, in one run.

import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { encodeImageFile } from "../../gpu-worker/pipeline/image.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { workFolder } from "./interrupt.ts";
import { PlainModel } from "./plain.ts";
import { GUIDANCE_SCALE } from "./step-case.ts";

const PROMPT = "fox, flat style";
const STEPS = 100;
/** Of the plain graph's steps, which all cost the same, this many are made; the time of the rest follows. */
const PLAIN_STEPS = 20;

export interface EndToEnd {
  readonly images: number;
  readonly ours_s: number;
  readonly plain_s: number;
  readonly ratio: number;
}

/** From prompt to PNG, ours and the plain graph's in turns; the least of the rounds counts. */
export async function measureEndToEnd(cacheDir: string, threads: number): Promise<EndToEnd[]> {
  const { path: graphs, remove } = workFolder("vqd-bench-");
  const results: EndToEnd[] = [];
  try {
    for (const [images, rounds] of [
      [1, 3],
      [8, 2],
    ] as const) {
      let oursMs = Infinity;
      let plainMs = Infinity;
      for (let round = 0; round < rounds; round++) {
        oursMs = Math.min(oursMs, await timeOurs(graphs, threads, images));
        plainMs = Math.min(plainMs, await timePlain(graphs, cacheDir, threads, images));
      }
      const seconds = (ms: number): number => Math.round(ms / 10) / 100;
      const ratio = Math.round((100 * plainMs) / oursMs) / 100;
      results.push({ images, ours_s: seconds(oursMs), plain_s: seconds(plainMs), ratio });
    }
  } finally {
    remove();
  }
  return results;
}

async function timeOurs(graphs: string, threads: number, images: number): Promise<number> {
  const pipeline = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, {
    threads,
    quantization: "int8",
    cacheDir: graphs,
  });
  const make = async (numImagesPerPrompt: number, numInferenceSteps: number): Promise<void> => {
    const made = await pipeline.call({
      prompt: PROMPT,
      seed: 7,
      guidanceScale: GUIDANCE_SCALE,
      numImagesPerPrompt,
      numInferenceSteps,
    });
    await Promise.all(made.images.map((image) => encodeImageFile(image, "png")));
  };
  await make(images, 2);
  const ms = await elapsed(() => make(images, STEPS));
  await pipeline.release();
  return ms;
}

/** With the plain graph and sampler for the steps; text encoder and decoder are ours in fp32. */
async function timePlain(graphs: string, cacheDir: string, threads: number, images: number): Promise<number> {
  const pipeline = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, { threads, cacheDir: graphs });
  const plain = await PlainModel.load(BUNDLED_MODEL, cacheDir, threads);
  const text = Float32Array.from({ length: plain.textSize }, (_, i) => Math.sin(i));
  const latents = pipeline.prepareLatents(images);
  await plain.denoise(pipeline, latents, [text, text], [0, 2]);
  const stepsMs = await elapsed(() => plain.denoise(pipeline, latents, [text, text], [0, PLAIN_STEPS]));
  const lastCode = pipeline.info.numEmbeddings - 1;
  const finished = latents.map((tokens) => tokens.map((token) => Math.min(token, lastCode)));
  const restMs = await elapsed(async () => {
    await pipeline.encodePrompt([pipeline.tokenize(PROMPT).ids]);
    const decoded = await pipeline.decode(finished);
    await Promise.all(decoded.map((image) => encodeImageFile(image, "png")));
  });
  await Promise.all([plain.release(), pipeline.release()]);
  return (stepsMs * STEPS) / PLAIN_STEPS + restMs;
}

async function elapsed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
