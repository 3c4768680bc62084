// `node_modules/.bin/node test/bench/gallery.ts`: the image grids of the README and of infra/train, from fixed prompts and seeds.

import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { type RgbImage, VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { workFolder } from "./interrupt.ts";
import { drawGrid } from "./image-grid.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/gallery.ts [options]

  --model DIR   checkpoint folder       [the bundled model]
  --out DIR     where to put the grids  [docs/images]
  -h, --help    this text
`;

/** Fixed before the training of the bundled model began. */
const PROMPTS = readFileSync(join(REPO, "infra", "train", "free-prompts.txt"), "utf8")
  .trim()
  .split("\n");
const SEED = 7;
const GUIDANCE_SCALE = 1;
const STEPS = [5, 10, 25, 50, 100];
const GUIDANCE = [1, 1.5, 2, 3, 5];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: BUNDLED_MODEL },
      out: { type: "string", default: join(import.meta.dirname, "..", "..", "docs", "images") },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const { path: cacheDir, remove } = workFolder("vqd-gallery-");
  try {
    const pipeline = await VQDiffusionPipeline.fromPretrained(values.model, {
      threads: availableParallelism(),
      quantization: "int8",
      cacheDir,
    });
    const make = async (prompt: string, steps: number, guidanceScale: number): Promise<RgbImage> => {
      const { images } = await pipeline.call({
        prompt,
        seeds: [SEED],
        guidanceScale,
        ...PRESETS.best,
        numInferenceSteps: steps,
      });
      const [image] = images;
      if (image === undefined) throw new Error("no image came out");
      return image;
    };
    const gallery: RgbImage[] = [];
    for (const prompt of PROMPTS)
      gallery.push(await make(prompt, PRESETS.best.numInferenceSteps, GUIDANCE_SCALE));
    const blank = Array<string>(10).fill("");
    writeFileSync(
      join(values.out, "gallery.png"),
      await drawGrid({ columns: blank, rows: blank, images: gallery }),
    );
    const settings: RgbImage[] = [];
    for (const guidance of GUIDANCE) {
      for (const steps of STEPS) settings.push(await make("fox", steps, guidance));
    }
    const columns = STEPS.map((steps) => `${steps} steps`);
    const rows = GUIDANCE.map((guidance) => `guidance ${guidance}`);
    writeFileSync(
      join(values.out, "steps-guidance.png"),
      await drawGrid({ columns, rows, images: settings }),
    );
    await pipeline.release();
  } finally {
    remove();
  }
}

await main();
