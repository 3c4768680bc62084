// What a form costs in accuracy: the figures and the image of docs/quantization.md, for any checkpoint and provider.

import { parseArgs } from "node:util";
import sharp from "sharp";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { QUANTIZATIONS, type Quantization } from "../../gpu-worker/graph/form.ts";
import type { RgbImage } from "../../gpu-worker/pipeline/image.ts";
import { type DenoiseSlot, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import type { Provider } from "../../gpu-worker/runtime/session.ts";
import { workFolder } from "./interrupt.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/quantization.ts [options]

  --model DIR          checkpoint folder                          [the bundled model]
  --quantization FORM  compared with fp32 on the CPU              [int8]
  --provider NAME      that computes the form                     [cpu]
  --draw               with a graph that draws, as on GPUs
  --steps N            of a run                                   [100]
  --seeds N            runs of each prompt, seeds 0 to N-1        [4]
  --prompts N          of four                                    [4]
  --image FILE         images of both forms, as PNG
  -h, --help           this text
`;

const PROMPTS = ["fox, flat style", "broken heart, flat style", "cat face, flat style", "green apple"];
/** Images in the grid: prompts across, the fp32 one above the other. */
const TILE = 96;

/** In fp32 on the CPU, and in the form to compare with it. */
interface Pipelines {
  readonly exact: VQDiffusionPipeline;
  readonly rounded: VQDiffusionPipeline;
}

/** Pixels by how unsure the model is of them: the entropy of p(x_0), in nats. */
const sureness = [0.05, 0.3, 1, Infinity].map((below) => ({ below, pixels: 0, error: 0 }));
const sum = { tokens: 0, equal: 0, drawn: 0, equalDrawn: 0, error: 0, kept: 0, pixels: 0 };

/**
 * Walks one fp32 run, and at each of its states makes the same step, with the same noise, in the other form. What a whole
 * run ends in says less: one token that differs early leads to another image, not to a worse one.
 */
async function compareRun(pipelines: Pipelines, text: string, seed: number, steps: number) {
  const slotOf = async (pipeline: VQDiffusionPipeline): Promise<DenoiseSlot> => {
    const [prompt] = await pipeline.encodePrompt([pipeline.tokenize(text).ids]);
    const [tokens] = pipeline.prepareLatents(1);
    if (prompt === undefined || tokens === undefined) throw new Error("no slot");
    const numInferenceSteps = Math.min(steps, pipeline.info.numTrainTimesteps);
    const settings = { seed, image: 0, guidanceScale: 5, truncationRate: 1, numInferenceSteps };
    const negative = await pipeline.encodeNegativePrompt(null);
    return pipeline.makeSlot({ ...settings, scheduler: "strided", tokens, prompt, negative });
  };
  const [exact, rounded] = [await slotOf(pipelines.exact), await slotOf(pipelines.rounded)];
  while (exact.stepIndex < exact.timesteps.length) {
    const before = exact.tokens.slice();
    rounded.tokens.set(before);
    rounded.stepIndex = exact.stepIndex;
    if (exact.stepIndex % 10 === 0) await compareLogProbs(pipelines, exact, rounded);
    await pipelines.exact.stepSlots([exact]);
    await pipelines.rounded.stepSlots([rounded]);
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
async function compareLogProbs(
  pipelines: Pipelines,
  exact: DenoiseSlot,
  rounded: DenoiseSlot,
): Promise<void> {
  const t = exact.timesteps[exact.stepIndex] ?? 0;
  const predict = (pipeline: VQDiffusionPipeline, { tokens, prompt }: DenoiseSlot) =>
    pipeline.model.denoiser.predict([tokens], [t], [prompt]);
  const [a, b] = [await predict(pipelines.exact, exact), await predict(pipelines.rounded, rounded)];
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
  const forms = [pipelines.exact, pipelines.rounded];
  for (const [row, pipeline] of forms.entries()) {
    for (const [column, prompt] of PROMPTS.entries()) {
      const { images } = await pipeline.call({ prompt, seed: seed + column });
      const [image] = images;
      if (image !== undefined) rows.push({ image, left: column * TILE, top: row * TILE });
    }
  }
  const tiles = rows.map(async ({ image, left, top }) => {
    const raw = { width: image.width, height: image.height, channels: 3 } as const;
    return { input: await sharp(image.data, { raw }).resize(TILE, TILE).png().toBuffer(), left, top };
  });
  const size = { width: TILE * PROMPTS.length, height: TILE * forms.length };
  await sharp({ create: { ...size, channels: 3, background: "white" } })
    .composite(await Promise.all(tiles))
    .png({ palette: true })
    .toFile(path);
}

interface Options {
  readonly model: string;
  readonly quantization: Quantization;
  readonly provider: Provider;
  readonly draws: boolean;
  readonly steps: number;
  readonly seeds: number;
  readonly prompts: number;
  readonly image: string | undefined;
}

/** Undefined if all that is wanted is the help. */
function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: BUNDLED_MODEL },
      quantization: { type: "string", default: "int8" },
      provider: { type: "string", default: "cpu" },
      draw: { type: "boolean", default: false },
      steps: { type: "string", default: "100" },
      seeds: { type: "string", default: "4" },
      prompts: { type: "string", default: "4" },
      image: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const count = (name: "steps" | "seeds" | "prompts"): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be an integer above 0`);
    return value;
  };
  const quantization = choice("quantization", values.quantization, QUANTIZATIONS);
  const provider = choice("provider", values.provider, ["cpu", "webgpu", "cuda"] as const);
  const counts = { steps: count("steps"), seeds: count("seeds"), prompts: count("prompts") };
  return { model: values.model, quantization, provider, draws: values.draw, ...counts, image: values.image };
}

function choice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const found = choices.find((one) => one === value);
  if (found === undefined) throw new Error(`--${name} must be one of ${choices.join(", ")}`);
  return found;
}

async function measure(options: Options): Promise<void> {
  const { model, quantization, provider, draws, steps, seeds, image: out } = options;
  const { path: cacheDir, remove } = workFolder("vqd-quantization-");
  try {
    const load = VQDiffusionPipeline.fromPretrained.bind(VQDiffusionPipeline);
    const pipelines: Pipelines = {
      exact: await load(model, { threads: 2, cacheDir }),
      rounded: await load(model, {
        provider,
        quantization,
        threads: 2,
        cacheDir,
        drawsOnDevice: draws || provider !== "cpu",
      }),
    };
    for (const prompt of PROMPTS.slice(0, options.prompts)) {
      for (let seed = 0; seed < seeds; seed++) await compareRun(pipelines, prompt, seed, steps);
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
