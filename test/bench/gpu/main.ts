// `npm run gpu-check`: whether a GPU computes what it should, and how fast; JSON on stdout, and an exit code.

import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gpuDevice } from "../../../gpu-worker/runtime/device.ts";
import { type Provider, RUNTIME_VERSION } from "../../../gpu-worker/runtime/session.ts";
import { workFolder } from "../interrupt.ts";
import type { PartArgument } from "./part.ts";
import { type PartResult, runPart } from "./part-process.ts";
import { type Part, PART_NAMES, partsFor } from "./parts.ts";
import { type Report, withShares } from "./report.ts";
import { Preparation } from "./preparation.ts";
import { SHAPES } from "./shapes.ts";
import { TimeLeft } from "./time-left.ts";

const HELP = `Usage: npm run gpu-check -- [options]

Checks a GPU and measures it, in less than ten minutes and without internet, and prints JSON. Each part has a process and a limit
of time of its own, so that one that crashes or hangs leaves the others their time. Exits with 0 if every check passes, with 1 if
one fails, and with 3 if none does but a part was not completed for lack of time. A measurement for which there is no room, or
that fails, is left out and says why.

  --provider NAME  cuda, webgpu or cpu                                     [cuda]
  --small          small shapes and few repeats: for software drivers
  --python PATH    a Python whose torch sees the same GPU, to compare with
  --seconds N      all ends by then                                        [540]
  --only NAMES     only these parts, by their names in --plan, with commas between
  --out FILE       the report, written anew after each part
  --plan           what is needed here and what will be done, and nothing else
  -h, --help       this text
`;

const planOf = (layers: number, images: readonly number[]): string =>
  `  shape${layers}`.padEnd(15) +
  `the published shape with ${layers} of its 36 layers, random weights: guided steps of ${images.join(", ")} images\n` +
  `  torch${layers}`.padEnd(15) +
  "two rows of the same in torch and in diffusers, where --python has them\n";

const PLAN = `Bring along: a copy of the repository with node_modules (npm ci), and node_modules/.bin/node, which npm start installs.
For cuda also: CUDA 13 and cuDNN 9, and beside node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1 the files
  libonnxruntime_providers_cuda.so, libonnxruntime_providers_shared.so
  of onnxruntime ${RUNTIME_VERSION}: its own script fetches them (docs/gpu.md), and PyPI's onnxruntime-gpu ${RUNTIME_VERSION} contains them.
For webgpu also: libvulkan.so.1 and a driver.
For the comparison: a Python with torch, and perhaps diffusers (--python).
For the published shapes, in the system's folder for temporary files, and of the device's memory:
${SHAPES.map(({ layers, diskGb, memoryGb }) => `  ${layers} layers: ${diskGb} GB of disk, ${memoryGb} GB of memory; left out where there is less\n`).join("")}
Done in this order, checks first:
  device       name, driver, memory, version of the runtime
  form_NAME    steps of the bundled model with known results in none, fp16, w8a16 and w4a16; a row alone and in a batch (--small:
               of a tiny one)
  fallback     the transformer with the CPU forbidden
  tiles        attention among 1,024 pixels 4 of 16 heads at a time, to the bit as with all at once (--small: 256 pixels)
  parity       the reference's recorded results in fp32, with three whole runs (--small: one)
  peak         large products in fp16
  steps        guided steps of 1, 2, 4, ... images
  images       images a second
${SHAPES.map(({ layers, images }) => planOf(layers, images)).join("")}These last are not done with --small. Their weights and graphs are made meanwhile, by a process of low priority (100 s), or before
them on fewer than four cores.
`;

/** A part with less would only be killed. */
const LEAST_SECONDS = 5;

interface Options {
  readonly provider: Provider;
  readonly isSmall: boolean;
  readonly python: string | undefined;
  readonly seconds: number;
  /** Names of parts; undefined for all. */
  readonly only: readonly string[] | undefined;
  readonly out: string | undefined;
}

/** Undefined if only a text is wanted, which is printed. */
function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      provider: { type: "string", default: "cuda" },
      small: { type: "boolean", default: false },
      python: { type: "string" },
      seconds: { type: "string", default: "540" },
      only: { type: "string" },
      out: { type: "string" },
      plan: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help || values.plan) {
    process.stdout.write(values.help ? HELP : PLAN);
    return undefined;
  }
  const provider = (["cuda", "webgpu", "cpu"] as const).find((name) => name === values.provider);
  if (provider === undefined) throw new Error("--provider must be cuda, webgpu or cpu");
  const seconds = Number(values.seconds);
  if (!(seconds >= 1)) throw new Error("--seconds must be a number of at least 1");
  const only = values.only?.split(",");
  const unknown = only?.filter((name) => !PART_NAMES.has(name)) ?? [];
  if (unknown.length > 0) throw new Error(`--only: there is no part ${unknown.join(", ")}; see --plan`);
  return { provider, isSmall: values.small, python: values.python, seconds, only, out: values.out };
}

/** Prints the report; the exit status. */
async function check({ provider, isSmall, python, seconds, only, out }: Options): Promise<number> {
  const { path: cacheDir } = workFolder("vqd-gpu-check-");
  const device = { provider, threads: provider === "cpu" ? availableParallelism() : 1, cacheDir };
  const report: Report & { provider: Provider; runtime: string; device: unknown } = {
    provider,
    runtime: RUNTIME_VERSION,
    device: provider === "cpu" ? null : gpuDevice(),
    parts: {},
    failed: [],
    not_done: [],
    pass: true,
  };
  const json = (): string => `${JSON.stringify(withShares(report), undefined, 2)}\n`;
  const settings = { device, isSmall, python };
  const time = new TimeLeft(seconds);
  const parts = partsFor(settings).filter(({ name }) => only?.includes(name) !== false);
  const shapes = SHAPES.filter(({ layers }) => parts.some(({ name }) => name === `shape${layers}`));
  const preparation = new Preparation(shapes, device, time);
  const resultOf = async ({ name, seconds: most }: Part): Promise<PartResult> => {
    const lack = await preparation.lackFor(name);
    if (lack !== undefined) return lack;
    const limit = Math.min(most, time.secondsLeft());
    if (limit < LEAST_SECONDS) return { status: "not done", reason: "no time left", value: {} };
    const argument: PartArgument = { ...settings, name, seconds: limit };
    return runPart(join(import.meta.dirname, "part.ts"), argument, limit);
  };
  for (const part of parts) {
    const { name, kind } = part;
    process.stderr.write(`${name}\n`);
    const startedAt = performance.now();
    const { status, reason, value } = await resultOf(part);
    const why = status === "not done" ? "not_done" : kind === "check" ? "failed" : "left_out";
    report.parts[name] = {
      seconds: Number(((performance.now() - startedAt) / 1_000).toFixed(1)),
      ...value,
      ...(reason === undefined ? {} : { [why]: reason }),
    };
    if (status === "failed" && kind === "check") report.failed.push(name);
    if (status === "not done") report.not_done.push(name);
    report.pass = report.failed.length + report.not_done.length === 0;
    if (out !== undefined) writeFileSync(out, json());
  }
  await new Promise((resolve) => process.stdout.write(json(), resolve));
  if (report.failed.length > 0) return 1;
  return report.not_done.length > 0 ? 3 : 0;
}

try {
  const options = readOptions();
  // A preparation for which there was no use may still run: to exit ends it, and removes the files.
  if (options !== undefined) process.exit(await check(options));
} catch (error) {
  process.stderr.write(`gpu-check: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(2);
}
