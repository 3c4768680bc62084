// `node_modules/.bin/node test/bench/samplers.ts --images DIR`: how close samplers come to the images that a model was taught.

import { createHash } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { type CallOptions, type RgbImage, VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { drawGrid } from "./image-grid.ts";
import { workFolder } from "./interrupt.ts";
import { nearest, psnr, shareEqual, type TrueImage } from "./score.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/samplers.ts --images DIR [options]

  --images DIR       what the model was taught: PNG files named after their prompt, further ones of the same prompt
                     PROMPT.2.png, PROMPT.3.png, ...
  --model DIR        checkpoint folder              [the bundled model]
  --prompts N        how many, chosen by a hash     [40]
  --seed N                                          [1]
  --only TEXT        cases whose name contains TEXT [all]
  --quantization Q   none or int8                   [int8]
  --out FILE         grid of the first images of each case
  -h, --help         this text
`;

type Settings = Omit<CallOptions<"image">, "prompt" | "outputType">;

const STRIDED = { scheduler: "strided" } as const;
const CONFIDENCE = { ...STRIDED, order: "confidence" } as const;
const HALTON = { ...STRIDED, order: "halton" } as const;
const AS_TRAINED = { numInferenceSteps: 20, temperature: 2 } as const;
const CASES: Readonly<Record<string, Settings>> = {
  "reference, 100 steps": {},
  "strided, 10 steps": { ...STRIDED, numInferenceSteps: 10 },
  "strided, 10 steps, truncation 0.86": { ...STRIDED, numInferenceSteps: 10, truncationRate: 0.86 },
  "strided, 10 steps, temperature 0.5": { ...STRIDED, numInferenceSteps: 10, temperature: 0.5 },
  "purity, 10 steps": { ...STRIDED, numInferenceSteps: 10, priorRule: 2, priorWeight: 1 },
  "confidence, 5 steps": { ...CONFIDENCE, numInferenceSteps: 5 },
  "confidence, 10 steps": { ...CONFIDENCE, numInferenceSteps: 10 },
  "confidence, 25 steps": { ...CONFIDENCE, numInferenceSteps: 25 },
  "confidence, 3 steps, temperature 0.5": { ...CONFIDENCE, numInferenceSteps: 3, temperature: 0.5 },
  "confidence, 5 steps, temperature 0.5": { ...CONFIDENCE, numInferenceSteps: 5, temperature: 0.5 },
  "confidence, 10 steps, temperature 0.5": { ...CONFIDENCE, numInferenceSteps: 10, temperature: 0.5 },
  "confidence, 25 steps, temperature 0.5": { ...CONFIDENCE, numInferenceSteps: 25, temperature: 0.5 },
  "confidence, 10 steps, remasking 0.05": { ...CONFIDENCE, numInferenceSteps: 10, remasking: 0.05 },
  "confidence, 25 steps, remasking 0.05": { ...CONFIDENCE, numInferenceSteps: 25, remasking: 0.05 },
  "Halton, 5 steps": { ...HALTON, numInferenceSteps: 5 },
  "Halton, 10 steps": { ...HALTON, numInferenceSteps: 10 },
  "Halton, 10 steps, temperature 0.5": { ...HALTON, numInferenceSteps: 10, temperature: 0.5 },
  "Halton, 10 steps, remasking 0.1": { ...HALTON, numInferenceSteps: 10, remasking: 0.1 },
  // The bundled model as it was trained: its output layer holds a temperature of 0.5.
  "as trained: strided, 20 steps": { ...STRIDED, ...AS_TRAINED },
  "as trained: Halton, 20 steps": { ...HALTON, ...AS_TRAINED },
  "as trained: Halton, 20 steps, remasking 0.05": { ...HALTON, ...AS_TRAINED, remasking: 0.05 },
  "as trained: confidence, 20 steps": { ...CONFIDENCE, ...AS_TRAINED },
  "as trained: confidence, 20 steps, remasking 0.05": { ...CONFIDENCE, ...AS_TRAINED, remasking: 0.05 },
};
/** Of the grid. */
const COLUMNS = 12;

interface Prompt {
  readonly text: string;
  readonly legal: readonly TrueImage[];
}

async function readTrueImage(pipeline: VQDiffusionPipeline, path: string): Promise<TrueImage> {
  const { data, info } = await sharp(path).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const image = { width: info.width, height: info.height, data };
  return { image, tokens: await pipeline.encodeImage(image) };
}

/** `count` of the folder's prompts; always the same ones of a folder. */
async function readPrompts(pipeline: VQDiffusionPipeline, dir: string, count: number): Promise<Prompt[]> {
  const files = new Map<string, string[]>();
  for (const name of readdirSync(dir).toSorted()) {
    const text = /^(.*?)(?:\.\d+)?\.png$/.exec(name)?.[1];
    if (text !== undefined) files.set(text, [...(files.get(text) ?? []), join(dir, name)]);
  }
  if (files.size === 0) throw new Error(`${dir} contains no PNG files`);
  const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
  const chosen = [...files].toSorted(([a], [b]) => hash(a).localeCompare(hash(b))).slice(0, count);
  return Promise.all(
    chosen.map(async ([text, paths]) => ({
      text,
      legal: await Promise.all(paths.map((path) => readTrueImage(pipeline, path))),
    })),
  );
}

interface Made {
  readonly image: RgbImage;
  readonly share: number;
  readonly decibels: number;
  /** From the prompt to the pixels. */
  readonly seconds: number;
}

async function make(
  pipeline: VQDiffusionPipeline,
  { text, legal }: Prompt,
  settings: Settings,
): Promise<Made> {
  const startedAt = performance.now();
  const { images, latents } = await pipeline.call({ prompt: text, ...settings });
  const seconds = (performance.now() - startedAt) / 1000;
  const [image] = images;
  const [tokens] = latents;
  if (image === undefined || tokens === undefined) throw new Error("no image came out");
  const near = nearest(image, legal);
  return { image, share: shareEqual(tokens, near.tokens), decibels: psnr(image, near.image), seconds };
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** A row of the table. Seconds are the least: what else a machine does only ever adds. */
const tableRow = (name: string, made: readonly Omit<Made, "image">[]): string => {
  const share = (100 * mean(made.map((one) => one.share))).toFixed(1);
  const decibels = mean(made.map((one) => one.decibels)).toFixed(1);
  const seconds = Math.min(...made.map((one) => one.seconds)).toFixed(2);
  return `| ${name} | ${share} % | ${decibels} | ${seconds} |\n`;
};

/** The bound that the VQ model sets: the first image of each prompt, encoded and decoded. */
async function ceiling(pipeline: VQDiffusionPipeline, prompts: readonly Prompt[]): Promise<string> {
  const bounds: Omit<Made, "image">[] = [];
  for (const {
    legal: [first],
  } of prompts) {
    if (first === undefined) continue;
    const startedAt = performance.now();
    const [decoded] = await pipeline.decode([first.tokens]);
    const seconds = (performance.now() - startedAt) / 1000;
    if (decoded !== undefined) bounds.push({ share: 1, decibels: psnr(decoded, first.image), seconds });
  }
  return tableRow("the true tokens, decoded", bounds);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      images: { type: "string" },
      model: { type: "string", default: BUNDLED_MODEL },
      prompts: { type: "string", default: "40" },
      seed: { type: "string", default: "1" },
      only: { type: "string", default: "" },
      quantization: { type: "string", default: "int8" },
      out: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const { images, quantization } = values;
  const [count, seed] = [Number(values.prompts), Number(values.seed)];
  if (images === undefined) throw new Error("--images is missing: what the model was taught");
  if (quantization !== "none" && quantization !== "int8")
    throw new Error("--quantization must be none or int8");
  if (!(Number.isInteger(count) && count > 0)) throw new Error("--prompts must be an integer above 0");
  const cases = Object.entries(CASES).filter(([name]) => name.includes(values.only));
  const { path: cacheDir, remove } = workFolder("vqd-samplers-");
  try {
    const options = { threads: availableParallelism(), quantization, cacheDir } as const;
    const pipeline = await VQDiffusionPipeline.fromPretrained(values.model, options);
    const prompts = await readPrompts(pipeline, images, count);
    process.stdout.write("| sampler | true tokens | PSNR | seconds |\n| --- | --: | --: | --: |\n");
    process.stdout.write(await ceiling(pipeline, prompts));
    const shown: RgbImage[] = [];
    for (const [name, settings] of cases) {
      const made: Made[] = [];
      for (const prompt of prompts) made.push(await make(pipeline, prompt, { ...settings, seed }));
      process.stdout.write(tableRow(name, made));
      shown.push(...made.slice(0, COLUMNS).map(({ image }) => image));
    }
    await pipeline.release();
    if (values.out !== undefined) {
      const columns = prompts.slice(0, COLUMNS).map(({ text }) => text.slice(0, 12));
      writeFileSync(
        values.out,
        await drawGrid({ columns, rows: cases.map(([name]) => name), images: shown }),
      );
    }
  } finally {
    remove();
  }
}

await main();
