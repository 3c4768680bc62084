// `npm run bench -- parts`: milliseconds of each part of the pipeline on this machine, as a table and as JSON.

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { CPU_QUANTIZATIONS, type Quantization } from "../../gpu-worker/graph/form.ts";
import { encodeImageFile } from "../../gpu-worker/pipeline/image.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { workFolder } from "./interrupt.ts";
import { asLine, describeMachine } from "./machine.ts";
import { makeSlots, residentMb, type Spread, time } from "./step-case.ts";

const HELP = `Usage: npm run bench -- parts [options]

  --model DIR      checkpoint folder        [the bundled model]
  --threads N      of the CPU provider      [all cores]
  --quantization Q none or int8             [none]
  --repeats N      counted runs of a case   [10]
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text
`;

const PROMPT = "fox, flat style";
const BATCHES = [1, 2, 4, 8];
const STEPS = 100;

interface Timing {
  readonly case: string;
  readonly ms: Spread;
}

const timed = async (name: string, repeats: number, work: () => Promise<unknown>): Promise<Timing> => ({
  case: name,
  ms: await time(repeats, work),
});

async function measure(
  model: string,
  { threads, quantization, repeats }: { threads: number; quantization: Quantization; repeats: number },
) {
  const { path: cacheDir, remove } = workFolder("vqd-bench-");
  const load = () => VQDiffusionPipeline.fromPretrained(model, { threads, quantization, cacheDir });
  try {
    const coldStart = performance.now();
    await (await load()).release();
    const coldMs = Math.round(performance.now() - coldStart);
    const timings = [await timed("load, graphs cached", 3, async () => (await load()).release())];

    const pipeline = await load();
    const { ids } = pipeline.tokenize(PROMPT);
    timings.push(await timed("encode a prompt", repeats, () => pipeline.encodePrompt([ids])));
    for (const guidance of [true, false]) {
      for (const images of BATCHES) {
        const slots = await makeSlots(pipeline, { images, guidance });
        const name = `step, ${guidance ? "guided" : "unguided"}, ${images} images`;
        timings.push(await timed(name, repeats, () => pipeline.stepSlots(slots)));
      }
    }
    const steps = Math.min(STEPS, pipeline.info.numTrainTimesteps);
    const output = await pipeline.call({ prompt: PROMPT, seed: 7, numInferenceSteps: steps });
    const [image] = output.images;
    if (image === undefined) throw new Error("no image was made");
    timings.push(
      await timed("decode an image", repeats, () => pipeline.decode(output.latents)),
      await timed("encode a PNG", repeats, () => encodeImageFile(image, "png")),
      await timed(`whole image, ${steps} steps, guided`, 3, () =>
        pipeline.call({ prompt: PROMPT, seed: 7, numInferenceSteps: steps }),
      ),
    );
    await pipeline.release();
    return { load_cold_ms: coldMs, rss_mb: residentMb(), timings };
  } finally {
    remove();
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
  const quantization = CPU_QUANTIZATIONS.find((choice) => choice === values.quantization);
  if (quantization === undefined)
    throw new Error(`--quantization must be one of ${CPU_QUANTIZATIONS.join(", ")}`);
  if (!(Number.isInteger(threads) && threads > 0 && Number.isInteger(repeats) && repeats > 0)) {
    throw new Error("--threads and --repeats must be integers above 0");
  }
  const machine = { ...describeMachine(), threads, quantization };
  const result = await measure(values.model, { threads, quantization, repeats });
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ machine, ...result }, null, 2)}\n`);
  } else {
    process.stdout.write(`${asLine(machine)}\n\n`);
    for (const { case: name, ms } of result.timings) {
      process.stdout.write(
        `${name.padEnd(32)} ${ms.median.toFixed(1).padStart(9)} ms   (${ms.min} to ${ms.max})\n`,
      );
    }
    process.stdout.write(`load, graphs built: ${result.load_cold_ms} ms; memory: ${result.rss_mb} MiB\n`);
  }
}
