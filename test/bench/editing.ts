// `node_modules/.bin/node test/bench/editing.ts`: the pictures of docs/editing.md, from fixed prompts and seeds.

import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import type { CallOptions } from "../../gpu-worker/pipeline/call.ts";
import { type RgbImage, VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { drawGrid } from "./image-grid.ts";
import { workFolder } from "./interrupt.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/editing.ts [options]

  --model DIR   checkpoint folder          [the bundled model]
  --out DIR     where to put the pictures  [docs/images]
  -h, --help    this text
`;

const SEED = 7;
const TINT = [60, 90, 160];
const STRENGTHS = [0, 0.2, 0.4, 0.6, 0.8, 1];
const FORKS = [0, 5, 10, 15, 20, 25];
const EDITS = ["dog face, noto style", "cat face, noto style", "red apple, noto style", "fox, flat style"];

const { values } = parseArgs({
  options: {
    model: { type: "string", default: BUNDLED_MODEL },
    out: { type: "string", default: join(import.meta.dirname, "..", "..", "docs", "images") },
    help: { type: "boolean", short: "h", default: false },
  },
});

async function main(): Promise<void> {
  const { path: cacheDir, remove } = workFolder("vqd-editing-");
  try {
    const pipeline = await VQDiffusionPipeline.fromPretrained(values.model, {
      threads: availableParallelism(),
      quantization: "int8",
      cacheDir,
    });
    const call = async (options: Partial<CallOptions<"image">>): Promise<RgbImage> => {
      const { images } = await pipeline.call({
        prompt: "fox, noto style",
        seeds: [SEED],
        guidanceScale: 2,
        ...PRESETS.best,
        ...options,
      });
      const [image] = images;
      if (image === undefined) throw new Error("no image came out");
      return image;
    };
    const write = async (name: string, columns: string[], images: RgbImage[]): Promise<void> =>
      writeFileSync(join(values.out, name), await drawGrid({ columns, rows: [""], images }));

    const states = pipeline.prepareLatents(1);
    const fox = await call({
      onStep: (_step, _total, [slot]) => states.push(slot?.tokens.slice() ?? new Uint16Array()),
    });
    const mask = lowerHalf(fox);
    const edits = [fox, shown(fox, mask)];
    for (const prompt of EDITS) edits.push(await call({ prompt, image: fox, mask, feather: 4 }));
    await write(
      "editing-mask.png",
      ["source", "mask", ...EDITS.map((prompt) => prompt.split(",")[0] ?? "")],
      edits,
    );

    const varied: RgbImage[] = [];
    for (const strength of STRENGTHS)
      varied.push(await call({ prompt: "fox, flat style", image: fox, strength }));
    await write(
      "editing-strength.png",
      STRENGTHS.map((strength) => `strength ${strength}`),
      varied,
    );

    const forks: RgbImage[] = [];
    for (const step of FORKS) {
      forks.push(await call({ prompt: "dog face, noto style", latents: states.slice(step, step + 1), step }));
    }
    await write(
      "editing-fork.png",
      FORKS.map((step) => `after ${step}`),
      forks,
    );
    await pipeline.release();
  } finally {
    remove();
  }
}

/** White in the lower half. */
function lowerHalf({ width, height }: RgbImage): RgbImage {
  const data = new Uint8Array(3 * width * height);
  return { width, height, data: data.fill(255, (3 * width * height) / 2) };
}

/** The image, bluish where the mask is white. */
const shown = ({ data, ...size }: RgbImage, mask: RgbImage): RgbImage => ({
  ...size,
  data: data.map((value, i) => (mask.data[i] === 255 ? Math.round(value / 3 + (TINT[i % 3] ?? 0)) : value)),
});

if (values.help) process.stdout.write(HELP);
else await main();
