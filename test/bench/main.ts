// `npm run bench`: the transformer step of several shapes on this machine, beside a plain graph, the peak and diffusers.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { CPU_QUANTIZATIONS } from "../../gpu-worker/graph/form.ts";
import { runScript, workFolder } from "./interrupt.ts";
import { asLine, describeMachine } from "./machine.ts";
import { measureStep, spreadOf } from "./step-case.ts";
import { runSuite } from "./suite.ts";

const HELP = `Usage: npm run bench -- [options]             the whole suite: a table, and JSON with --json
       npm run bench -- --shape NAME [options]  a single case
       npm run bench -- parts [--help]          each part of the pipeline
       npm run bench -- edge [--help]           dispatch, readers, tokenizer, size and start of the edge
       npm run bench -- cost [--help]           a prediction's messages, rows and bytes
       npm run bench -- hub [--help]            predictions a second through one hub
       npm run bench -- load [--help]           the whole system from a fraction to a multiple of its capacity
       npm run bench -- cancel [--help]         how long a canceled job keeps its slot
       npm run bench -- simulate [--help]       one to a thousand workers, and where NATS and hubs saturate

  --shape NAME       bundled, or ithq: the published model's, with random weights
  --layers N         of the transformer, with --shape ithq       [2]
  --images N         images in one pass                        [1]
  --guidance         with classifier-free guidance: two rows of the pass for each image
  --threads N        of the CPU provider                         [all cores]
  --quantization Q   none or int8                                [int8]
  --last             the last step of a run, which evaluates every pixel, instead of one in its middle
  --repeats N        counted runs of a case                      [10]
  --rounds N         of the suite, each with every case          [3]
  --python FILE      with torch and diffusers, for comparison    [python3] (VQD_PYTHON)
  --plot FILE        of the suite: draws it as SVG
  --json             JSON alone on stdout (with npm run -s)
  -h, --help         this text

With its 36 layers the published shape takes 5.5 GB of disk in the temporary folder.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      shape: { type: "string" },
      layers: { type: "string", default: "2" },
      images: { type: "string", default: "1" },
      guidance: { type: "boolean", default: false },
      threads: { type: "string", default: String(availableParallelism()) },
      quantization: { type: "string", default: "int8" },
      rounds: { type: "string", default: "3" },
      last: { type: "boolean", default: false },
      repeats: { type: "string", default: "10" },
      python: { type: "string", default: process.env["VQD_PYTHON"] ?? "python3" },
      plot: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const number = (name: "layers" | "images" | "threads" | "repeats" | "rounds"): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be an integer above 0`);
    return value;
  };
  const quantization = CPU_QUANTIZATIONS.find((choice) => choice === values.quantization);
  if (quantization === undefined) {
    throw new Error(`--quantization must be one of ${CPU_QUANTIZATIONS.join(", ")}`);
  }
  const [threads, repeats] = [number("threads"), number("repeats")];
  if (values.shape === undefined) {
    const rounds = number("rounds");
    await runSuite({ threads, repeats, rounds, python: values.python, json: values.json, plot: values.plot });
    return;
  }
  if (values.shape !== "bundled" && values.shape !== "ithq") {
    throw new Error("--shape must be bundled or ithq");
  }
  const { path: work, remove } = workFolder("vqd-bench-");
  try {
    const settings = {
      images: number("images"),
      guidance: values.guidance,
      threads,
      quantization,
      step: values.last ? ("last" as const) : ("middle" as const),
    };
    const isBundled = values.shape === "bundled";
    const model = isBundled ? BUNDLED_MODEL : join(work, "ithq");
    const cacheDir = join(work, "cache");
    // In a process of its own, so that the memory it takes is not counted.
    const prepare = join(import.meta.dirname, "prepare.ts");
    const shape = isBundled ? [] : [`${number("layers")}`];
    await runScript(prepare, model, cacheDir, quantization, ...shape);
    const { durations, rss_mb } = await measureStep(model, cacheDir, { ...settings, repeats });
    const layers = isBundled ? {} : { layers: number("layers") };
    if (values.json) {
      const step_ms = spreadOf(durations);
      const report = {
        step_ms,
        rss_mb,
        shape: values.shape,
        ...layers,
        ...settings,
        machine: describeMachine(),
      };
      process.stdout.write(`${JSON.stringify(report)}\n`);
    } else {
      const { median, min, max } = spreadOf(durations);
      process.stdout.write(`${asLine(describeMachine())}\n`);
      process.stdout.write(`step ${median} ms (${min} to ${max}), resident ${rss_mb} MiB\n`);
    }
  } finally {
    remove();
  }
}

const [, , part] = process.argv;
const PARTS: readonly string[] = ["parts", "edge", "load", "cancel", "simulate", "cost", "hub"];

try {
  if (part !== undefined && PARTS.includes(part)) {
    process.argv.splice(2, 1);
    await import(`./${part}.ts`);
  } else {
    await main();
  }
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
