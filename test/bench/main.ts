// `npm run bench`: seconds of each part of the pipeline on this machine, as a table and as JSON.

import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { QUANTIZATIONS, type Quantization } from "../../gpu-worker/graph/form.ts";
import { encodeImageFile } from "../../gpu-worker/pipeline/image.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { RUNTIME_VERSION } from "../../gpu-worker/session.ts";

const HELP = `Usage: npm run bench -- [options]

  --model DIR      checkpoint folder        [the bundled model]
  --threads N      of the CPU provider      [all cores]
  --quantization Q none or int8             [none]
  --repeats N      counted runs of a case   [10]
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text
`;

const PROMPT = "grinning face, flat style";
const BATCHES = [1, 2, 4, 8];
const STEPS = 100;
const MIB = 2 ** 20;

interface Timing {
  readonly case: string;
  readonly median_ms: number;
  readonly min_ms: number;
  readonly max_ms: number;
}

/** Times `work` after one uncounted run. */
async function time(name: string, repeats: number, work: () => Promise<unknown>): Promise<Timing> {
  await work();
  const durations: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const startedAt = performance.now();
    await work();
    durations.push(performance.now() - startedAt);
  }
  durations.sort((a, b) => a - b);
  const round = (ms: number | undefined): number => Math.round((ms ?? 0) * 100) / 100;
  return {
    case: name,
    median_ms: round(durations[Math.floor(repeats / 2)]),
    min_ms: round(durations[0]),
    max_ms: round(durations.at(-1)),
  };
}

async function measure(
  model: string,
  { threads, quantization, repeats }: { threads: number; quantization: Quantization; repeats: number },
) {
  const cacheDir = mkdtempSync(join(tmpdir(), "vqd-bench-"));
  const load = () => VQDiffusionPipeline.fromPretrained(model, { threads, quantization, cacheDir });
  try {
    const coldStart = performance.now();
    await (await load()).release();
    const coldMs = Math.round(performance.now() - coldStart);
    const timings = [await time("load, graphs cached", 3, async () => (await load()).release())];

    const pipeline = await load();
    const { ids } = pipeline.tokenize(PROMPT);
    const [prompt] = await pipeline.encodePrompt([ids]);
    const negative = await pipeline.encodeNegativePrompt(null);
    if (prompt === undefined) throw new Error("the prompt was not encoded");
    timings.push(await time("encode a prompt", repeats, () => pipeline.encodePrompt([ids])));
    for (const guidanceScale of [5, 1]) {
      for (const batch of BATCHES) {
        const slots = pipeline.prepareLatents(batch).map((tokens, image) =>
          pipeline.makeSlot({
            tokens,
            image,
            seed: 7,
            guidanceScale,
            truncationRate: 1,
            prompt,
            negative,
            numInferenceSteps: pipeline.info.numTrainTimesteps,
          }),
        );
        const guided = guidanceScale > 1 ? "guided" : "unguided";
        timings.push(
          await time(`step, ${guided}, ${batch} images`, repeats, () => pipeline.stepSlots(slots)),
        );
      }
    }
    const steps = Math.min(STEPS, pipeline.info.numTrainTimesteps);
    const output = await pipeline.call({ prompt: PROMPT, seed: 7, numInferenceSteps: steps });
    const [image] = output.images;
    if (image === undefined) throw new Error("no image was made");
    timings.push(
      await time("decode an image", repeats, () => pipeline.decode(output.latents)),
      await time("encode a PNG", repeats, () => encodeImageFile(image, "png")),
      await time(`whole image, ${steps} steps, guided`, 3, () =>
        pipeline.call({ prompt: PROMPT, seed: 7, numInferenceSteps: steps }),
      ),
    );
    await pipeline.release();
    return { load_cold_ms: coldMs, rss_mb: Math.round(process.memoryUsage.rss() / MIB), timings };
  } finally {
    rmSync(cacheDir, { recursive: true, force: true });
  }
}

const { values } = parseArgs({
  options: {
    model: { type: "string", default: BUNDLED_MODEL },
    threads: { type: "string", default: String(availableParallelism()) },
    quantization: { type: "string", default: "none" },
    repeats: { type: "string", default: "10" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
} else {
  const threads = Number(values.threads);
  const repeats = Number(values.repeats);
  const quantization = QUANTIZATIONS.find((choice) => choice === values.quantization);
  if (quantization === undefined)
    throw new Error(`--quantization must be one of ${QUANTIZATIONS.join(", ")}`);
  if (!(Number.isInteger(threads) && threads > 0 && Number.isInteger(repeats) && repeats > 0)) {
    throw new Error("--threads and --repeats must be integers above 0");
  }
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memory_gb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    onnxruntime: RUNTIME_VERSION,
    threads,
    quantization,
  };
  const result = await measure(values.model, { threads, quantization, repeats });
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ machine, ...result }, null, 2)}\n`);
  } else {
    process.stdout.write(
      `${Object.entries(machine)
        .map(([key, value]) => `${key} ${value}`)
        .join(", ")}\n\n`,
    );
    for (const { case: name, median_ms: median, min_ms: min, max_ms: max } of result.timings) {
      process.stdout.write(`${name.padEnd(32)} ${median.toFixed(1).padStart(9)} ms   (${min} to ${max})\n`);
    }
    process.stdout.write(`load, graphs built: ${result.load_cold_ms} ms; memory: ${result.rss_mb} MiB\n`);
  }
}
