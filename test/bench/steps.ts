// `node_modules/.bin/node test/bench/steps.ts`: images, seconds and scores by number of steps and way of sampling (docs/sampling.md).

import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import sharp, { type OverlayOptions } from "sharp";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { type RgbImage, VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { workFolder } from "./interrupt.ts";
import { diversity, pseudoLikelihood } from "./score.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/steps.ts [options]

  --model DIR      checkpoint folder                       [the bundled model]
  --prompt TEXT    of all images                         [grinning face, flat style]
  --seeds N        images of each case, seeds 1 to N     [16]
  --steps LIST     numbers of steps                        [5,10,25,50,100]
  --threads N      of the CPU provider                     [all cores]
  --out FILE       grid of the first images of each case [docs/images/steps.png]
  -h, --help       this text
`;

const GUIDANCE_SCALE = 3;
const SAMPLERS = {
  reference: {},
  strided: { scheduler: "strided" },
  "strided, purity": { scheduler: "strided", priorRule: 2, priorWeight: 1 },
} as const;
type Sampler = keyof typeof SAMPLERS;

interface Case {
  readonly sampler: Sampler;
  readonly steps: number;
  /** Of one image, all of the case being made at once. */
  readonly seconds: number;
  readonly likelihood: number;
  readonly diversity: number;
  readonly images: readonly RgbImage[];
}

interface Run {
  readonly pipeline: VQDiffusionPipeline;
  readonly prompt: string;
  readonly seeds: number;
}

async function measure({ pipeline, prompt, seeds }: Run, sampler: Sampler, steps: number): Promise<Case> {
  const [conditioning] = await pipeline.encodePrompt([pipeline.tokenize(prompt).ids]);
  if (conditioning === undefined) throw new Error("the prompt was not encoded");
  const startedAt = performance.now();
  const { images, latents } = await pipeline.call({
    prompt,
    numImagesPerPrompt: seeds,
    seeds: Array.from({ length: seeds }, (_, i) => i + 1),
    numInferenceSteps: steps,
    guidanceScale: GUIDANCE_SCALE,
    ...SAMPLERS[sampler],
  });
  const seconds = (performance.now() - startedAt) / 1000 / seeds;
  let likelihood = 0;
  for (const tokens of latents) likelihood += await pseudoLikelihood(pipeline, tokens, conditioning);
  return {
    sampler,
    steps,
    seconds,
    likelihood: likelihood / seeds,
    diversity: diversity(latents),
    images,
  };
}

/** Images of a case in the grid: this many beside and below each other. */
const SIDE = 2;
const CELL = 160;
const GAP = 12;
const LEFT = 120;
const TOP = 28;

const label = (text: string, x: number, y: number, anchor: "start" | "middle"): string =>
  `<text x="${x}" y="${y}" font-family="sans-serif" font-size="14" text-anchor="${anchor}">${text}</text>`;

/** One row for each sampler, one column for each number of steps, the same seeds in every cell. */
async function drawGrid(cases: readonly Case[], steps: readonly number[], path: string): Promise<void> {
  const samplers = [...new Set(cases.map(({ sampler }) => sampler))];
  const width = LEFT + steps.length * (CELL + GAP);
  const height = TOP + samplers.length * (CELL + GAP);
  const texts = [
    ...steps.map((n, column) => label(`${n} steps`, LEFT + column * (CELL + GAP) + CELL / 2, 19, "middle")),
    ...samplers.map((name, row) => label(name, 8, TOP + row * (CELL + GAP) + CELL / 2, "start")),
  ];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${texts.join("")}</svg>`;
  const overlays: OverlayOptions[] = [{ input: Buffer.from(svg), left: 0, top: 0 }];
  for (const { sampler, steps: n, images } of cases) {
    const left = LEFT + steps.indexOf(n) * (CELL + GAP);
    const top = TOP + samplers.indexOf(sampler) * (CELL + GAP);
    for (const [i, { data, width: w, height: h }] of images.slice(0, SIDE ** 2).entries()) {
      const size = CELL / SIDE;
      overlays.push({
        input: await sharp(data, { raw: { width: w, height: h, channels: 3 } })
          .resize(size, size)
          .png()
          .toBuffer(),
        left: left + (i % SIDE) * size,
        top: top + Math.floor(i / SIDE) * size,
      });
    }
  }
  const file = await sharp({ create: { width, height, channels: 3, background: "white" } })
    .composite(overlays)
    .png({ palette: true, effort: 10 })
    .toBuffer();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, file);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: BUNDLED_MODEL },
      prompt: { type: "string", default: "grinning face, flat style" },
      seeds: { type: "string", default: "16" },
      steps: { type: "string", default: "5,10,25,50,100" },
      threads: { type: "string", default: String(availableParallelism()) },
      out: { type: "string", default: join(import.meta.dirname, "..", "..", "docs", "images", "steps.png") },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const [seeds, threads] = [Number(values.seeds), Number(values.threads)];
  const steps = values.steps.split(",").map(Number);
  if (![seeds - 1, threads, ...steps].every((value) => Number.isInteger(value) && value > 0)) {
    throw new Error("--seeds must be an integer above 1, --threads and --steps integers above 0");
  }
  const { path: cacheDir, remove } = workFolder("vqd-steps-");
  try {
    const pipeline = await VQDiffusionPipeline.fromPretrained(values.model, { threads, cacheDir });
    const run = { pipeline, prompt: values.prompt, seeds };
    const cases: Case[] = [];
    process.stdout.write(
      "| sampler | steps | seconds | log p | diversity |\n| --- | --: | --: | --: | --: |\n",
    );
    for (const sampler of Object.keys(SAMPLERS) as Sampler[]) {
      for (const n of steps) {
        // With every timestep taken, to stride is to do what the reference does.
        const same = sampler === "strided" && n === pipeline.info.numTrainTimesteps;
        const reference = same
          ? cases.find((one) => one.sampler === "reference" && one.steps === n)
          : undefined;
        const measured = reference ? { ...reference, sampler } : await measure(run, sampler, n);
        cases.push(measured);
        const figures = [measured.seconds.toFixed(2), measured.likelihood.toFixed(2)];
        process.stdout.write(
          `| ${sampler} | ${n} | ${figures.join(" | ")} | ${measured.diversity.toFixed(2)} |\n`,
        );
      }
    }
    await pipeline.release();
    await drawGrid(cases, steps, values.out);
  } finally {
    remove();
  }
}

await main();
