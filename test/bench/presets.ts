// `node_modules/.bin/node test/bench/presets.ts`: images, seconds and scores of the presets (docs/sampling.md).

import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PRESET_NAMES, type PresetName } from "@vqd/shared/sampling/preset-names.ts";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { type RgbImage, VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { workFolder } from "./interrupt.ts";
import { drawGrid } from "./image-grid.ts";
import { diversity, pseudoLikelihood } from "./score.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/presets.ts [options]

  --model DIR           checkpoint folder              [the bundled model]
  --seeds N             images of a prompt, seeds 1 to N; the first is shown   [4]
  --guidance-scale S                                   [the checkpoint's default]
  --quantization Q      none or int8                   [int8]
  --out FILE            grid of the images           [docs/images/presets.png]
  -h, --help            this text
`;

const PROMPTS = ["fox", "frog", "strawberry", "pizza", "rocket", "sailboat", "sunflower", "broken heart"];

interface Figures {
  readonly images: readonly RgbImage[];
  /** Of one image, from its prompt to its pixels, made alone. */
  readonly seconds: number;
  readonly likelihood: number;
  readonly diversity: number;
}

async function measure(
  pipeline: VQDiffusionPipeline,
  preset: PresetName,
  { seeds, guidanceScale }: { seeds: number; guidanceScale: number },
): Promise<Figures> {
  const images: RgbImage[] = [];
  let [seconds, likelihood, differing] = [Infinity, 0, 0];
  for (const prompt of PROMPTS) {
    const [conditioning] = await pipeline.encodePrompt([pipeline.tokenize(prompt).ids]);
    if (conditioning === undefined) throw new Error("the prompt was not encoded");
    const latents: Uint16Array[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      const startedAt = performance.now();
      const made = await pipeline.call({ prompt, seeds: [seed], guidanceScale, ...PRESETS[preset] });
      // The least: what else a machine does only ever adds.
      seconds = Math.min(seconds, (performance.now() - startedAt) / 1000);
      latents.push(...made.latents);
      if (seed === 1) images.push(...made.images);
    }
    for (const tokens of latents) likelihood += await pseudoLikelihood(pipeline, tokens, conditioning);
    differing += diversity(latents);
  }
  return {
    images,
    seconds,
    likelihood: likelihood / (PROMPTS.length * seeds),
    diversity: differing / PROMPTS.length,
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: BUNDLED_MODEL },
      seeds: { type: "string", default: "4" },
      "guidance-scale": { type: "string" },
      quantization: { type: "string", default: "int8" },
      out: {
        type: "string",
        default: join(import.meta.dirname, "..", "..", "docs", "images", "presets.png"),
      },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const { quantization } = values;
  if (quantization !== "none" && quantization !== "int8")
    throw new Error("--quantization must be none or int8");
  const seeds = Number(values.seeds);
  if (!(Number.isInteger(seeds) && seeds > 1)) throw new Error("--seeds must be an integer above 1");
  const { path: cacheDir, remove } = workFolder("vqd-presets-");
  try {
    const threads = availableParallelism();
    const pipeline = await VQDiffusionPipeline.fromPretrained(values.model, {
      threads,
      quantization,
      cacheDir,
    });
    const guidanceScale = Number(values["guidance-scale"] ?? pipeline.info.defaultGuidanceScale);
    const rows: RgbImage[] = [];
    process.stdout.write("| preset | seconds | log p | diversity |\n| --- | --: | --: | --: |\n");
    for (const preset of PRESET_NAMES) {
      const figures = await measure(pipeline, preset, { seeds, guidanceScale });
      rows.push(...figures.images);
      const cells = [figures.seconds, figures.likelihood, figures.diversity].map((value) => value.toFixed(2));
      process.stdout.write(`| ${preset} | ${cells.join(" | ")} |\n`);
    }
    await pipeline.release();
    writeFileSync(values.out, await drawGrid({ columns: PROMPTS, rows: PRESET_NAMES, images: rows }));
  } finally {
    remove();
  }
}

await main();
