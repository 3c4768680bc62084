// What int8 costs in accuracy: the figures and the image of docs/quantization.md, for any checkpoint.

import { parseArgs } from "node:util";
import sharp from "sharp";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { ensureGraphs } from "../../gpu-worker/graph/cache.ts";
import { graphForm, QUANTIZATIONS, type Quantization } from "../../gpu-worker/graph/form.ts";
import { Denoiser } from "../../gpu-worker/pipeline/denoiser.ts";
import type { RgbImage } from "../../gpu-worker/pipeline/image.ts";
import { type DenoiseSlot, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { TextConditioner } from "../../gpu-worker/pipeline/conditioning/text-conditioner.ts";
import { workFolder } from "./interrupt.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/quantization.ts [options]

  --model DIR      checkpoint folder                   [the bundled model]
  --seeds N        runs of each prompt, seeds 0 to N-1 [4]
  --image FILE     images of both forms, as PNG
  -h, --help       this text
`;

const PROMPTS = ["fox, flat style", "broken heart, flat style", "cat face, flat style", "green apple"];
const MAX_STEPS = 100;
/** Images in the grid: prompts across, the fp32 one above the int8 one. */
const TILE = 96;

/** The quantized half of a pipeline, in one form. */
interface Form {
  readonly conditioner: TextConditioner;
  readonly denoiser: Denoiser;
}
type Forms = Record<Quantization, Form>;
type Pipelines = Record<Quantization, VQDiffusionPipeline>;

/** Pixels by how unsure the model is of them: the entropy of p(x_0), in nats. */
const sureness = [0.05, 0.3, 1, Infinity].map((below) => ({ below, pixels: 0, error: 0 }));
const sum = { tokens: 0, equal: 0, drawn: 0, equalDrawn: 0, error: 0, kept: 0, pixels: 0 };

/**
 * Walks one fp32 run, and at each of its states makes the same step, with the same noise, in int8. What a whole
 * run ends in says less: one token that differs early leads to another image, not to a worse one.
 */
async function compareRun(forms: Forms, pipeline: VQDiffusionPipeline, text: string, seed: number) {
  const slots: Partial<Record<Quantization, DenoiseSlot>> = {};
  for (const quantization of QUANTIZATIONS) {
    const { conditioner } = forms[quantization];
    const [prompt] = await conditioner.encode([pipeline.tokenize(text).ids]);
    const [tokens] = pipeline.prepareLatents(1);
    if (prompt === undefined || tokens === undefined) throw new Error("no slot");
    const numInferenceSteps = Math.min(MAX_STEPS, pipeline.info.numTrainTimesteps);
    const settings = { seed, image: 0, guidanceScale: 5, truncationRate: 1, numInferenceSteps };
    const negative = conditioner.unconditional;
    slots[quantization] = pipeline.makeSlot({ ...settings, tokens, prompt, negative });
  }
  const { none: exact, int8: rounded } = slots;
  if (exact === undefined || rounded === undefined) throw new Error("no slots");
  while (exact.stepIndex < exact.timesteps.length) {
    const before = exact.tokens.slice();
    rounded.tokens.set(before);
    rounded.stepIndex = exact.stepIndex;
    if (exact.stepIndex % 10 === 0) await compareLogProbs(forms, exact, rounded);
    await forms.none.denoiser.step([exact]);
    await forms.int8.denoiser.step([rounded]);
    for (const [position, token] of exact.tokens.entries()) {
      const isEqual = token === rounded.tokens[position];
      sum.tokens++;
      if (isEqual) sum.equal++;
      if (token === before[position]) continue;
      sum.drawn++;
      if (isEqual) sum.equalDrawn++;
    }
  }
}

/** log p(x_0 | x_t, prompt) of both forms at one state: mean error weighted by p, and how often the best class is one. */
async function compareLogProbs(forms: Forms, exact: DenoiseSlot, rounded: DenoiseSlot): Promise<void> {
  const t = exact.timesteps[exact.stepIndex] ?? 0;
  const a = await forms.none.denoiser.predict([exact.tokens], [t], [exact.prompt]);
  const b = await forms.int8.denoiser.predict([rounded.tokens], [t], [rounded.prompt]);
  const pixels = exact.tokens.length;
  const classes = a.length / pixels;
  for (let pixel = 0; pixel < pixels; pixel++) {
    let [bestA, bestB] = [0, 0];
    let [error, entropy] = [0, 0];
    for (let k = 0; k < classes; k++) {
      const [x, y] = [a[pixel * classes + k] ?? 0, b[pixel * classes + k] ?? 0];
      error += Math.exp(x) * Math.abs(x - y);
      entropy -= Math.exp(x) * x;
      if (x > (a[pixel * classes + bestA] ?? 0)) bestA = k;
      if (y > (b[pixel * classes + bestB] ?? 0)) bestB = k;
    }
    sum.pixels++;
    sum.error += error;
    const alike = sureness.find(({ below }) => entropy < below);
    if (alike !== undefined) {
      alike.pixels++;
      alike.error += error;
    }
    if (bestA === bestB) sum.kept++;
  }
}

async function drawImages(pipelines: Pipelines, seed: number, path: string): Promise<void> {
  const rows: { image: RgbImage; left: number; top: number }[] = [];
  for (const [row, quantization] of QUANTIZATIONS.entries()) {
    for (const [column, prompt] of PROMPTS.entries()) {
      const { images } = await pipelines[quantization].call({ prompt, seed: seed + column });
      const [image] = images;
      if (image !== undefined) rows.push({ image, left: column * TILE, top: row * TILE });
    }
  }
  const tiles = rows.map(async ({ image, left, top }) => {
    const raw = { width: image.width, height: image.height, channels: 3 } as const;
    return { input: await sharp(image.data, { raw }).resize(TILE, TILE).png().toBuffer(), left, top };
  });
  const size = { width: TILE * PROMPTS.length, height: TILE * QUANTIZATIONS.length };
  await sharp({ create: { ...size, channels: 3, background: "white" } })
    .composite(await Promise.all(tiles))
    .png({ palette: true })
    .toFile(path);
}

interface Options {
  readonly model: string;
  readonly seeds: number;
  readonly image: string | undefined;
}

/** Undefined if all that is wanted is the help. */
function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: BUNDLED_MODEL },
      seeds: { type: "string", default: "4" },
      image: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const seeds = Number(values.seeds);
  if (!Number.isInteger(seeds) || seeds < 1) throw new Error("--seeds must be an integer above 0");
  return { model: values.model, seeds, image: values.image };
}

async function measure({ model, seeds, image: out }: Options): Promise<void> {
  const { path: cacheDir, remove } = workFolder("vqd-quantization-");
  try {
    const options = { provider: "cpu", threads: 2 } as const;
    const checkpoint = new DiffusersCheckpoint(model);
    const load = async (quantization: Quantization): Promise<Form> => {
      const graphs = ensureGraphs(checkpoint, checkpoint.version(), {
        cacheDir,
        form: graphForm("cpu", quantization),
      });
      return {
        conditioner: await TextConditioner.load(checkpoint, graphs, options),
        denoiser: await Denoiser.load(checkpoint, graphs, options),
      };
    };
    const forms: Forms = { none: await load("none"), int8: await load("int8") };
    const pipelineOf = (quantization: Quantization) =>
      VQDiffusionPipeline.fromPretrained(model, { quantization, threads: 2, cacheDir });
    const pipelines: Pipelines = { none: await pipelineOf("none"), int8: await pipelineOf("int8") };
    for (const prompt of PROMPTS) {
      for (let seed = 0; seed < seeds; seed++) {
        await compareRun(forms, pipelines.none, prompt, seed);
      }
    }
    const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(2)} %`;
    console.log(
      `tokens equal after one step from the same state: ${percent(sum.equal, sum.tokens)} of ${sum.tokens}`,
    );
    console.log(
      `of those that the step has drawn anew: ${percent(sum.equalDrawn, sum.drawn)} of ${sum.drawn}`,
    );
    console.log(`most likely class the same: ${percent(sum.kept, sum.pixels)} of ${sum.pixels} pixels`);
    console.log(`mean error of the log-probabilities, weighted by p: ${(sum.error / sum.pixels).toFixed(4)}`);
    for (const { below, pixels, error } of sureness) {
      const mean = pixels === 0 ? "none" : (error / pixels).toFixed(4);
      console.log(
        `  of pixels with an entropy below ${below} nats: ${mean} (${percent(pixels, sum.pixels)} of them)`,
      );
    }
    if (out !== undefined) await drawImages(pipelines, 7, out);
  } finally {
    remove();
  }
}

let options: Options | undefined;
try {
  options = readOptions();
} catch (error) {
  process.stderr.write(`quantization: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(2);
}
if (options === undefined) process.stdout.write(HELP);
else await measure(options);
