// `npm run gpu-check`: whether a GPU computes what it should, and how fast; JSON on stdout, and an exit code.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BUNDLED_MODEL } from "../../../gpu-worker/config.ts";
import { GPU_QUANTIZATIONS } from "../../../gpu-worker/graph/form.ts";
import { gpuDevice } from "../../../gpu-worker/runtime/device.ts";
import { type Provider, RUNTIME_VERSION } from "../../../gpu-worker/runtime/session.ts";
import { workFolder } from "../interrupt.ts";
import { writePublishedShape } from "../published-shape.ts";
import { lackOfRoom, SHAPES } from "./shapes.ts";
import { checkTiles } from "./tiles.ts";
import {
  checkFallback,
  checkForm,
  checkParity,
  measureImages,
  measurePeak,
  measureSteps,
  measureTorch,
  TINY_MODEL,
} from "./checks.ts";

const HELP = `Usage: npm run gpu-check -- [options]

Checks a GPU and measures it, in less than ten minutes and without internet, and prints JSON. Exits with 0 if every check
passes; a measurement that time or memory does not suffice for is left out and says so.

  --provider NAME  cuda, webgpu or cpu                                     [cuda]
  --small          small shapes and few repeats: for software drivers
  --python PATH    a Python whose torch sees the same GPU, to compare with
  --seconds N      no part begins later than this                          [420]
  --only NAMES     only these parts, by their names in --plan, with commas between
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
  peak         one large product in fp16
  steps        guided steps of 1, 2, 4, ... images
  images       images a second
${SHAPES.map(({ layers, images }) => planOf(layers, images)).join("")}These last are not done with --small.
`;

const PARTS = new Set([
  "fallback",
  "tiles",
  "parity",
  "peak",
  "steps",
  "images",
  ...GPU_QUANTIZATIONS.map((form) => `form_${form}`),
  ...SHAPES.flatMap(({ layers }) => [`shape${layers}`, `torch${layers}`]),
]);

interface Options {
  readonly provider: Provider;
  readonly isSmall: boolean;
  readonly python: string | undefined;
  readonly seconds: number;
  /** Names of parts; undefined for all. */
  readonly only: readonly string[] | undefined;
}

/** Undefined if only a text is wanted, which is printed. */
function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      provider: { type: "string", default: "cuda" },
      small: { type: "boolean", default: false },
      python: { type: "string" },
      seconds: { type: "string", default: "420" },
      only: { type: "string" },
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
  const unknown = only?.filter((name) => !PARTS.has(name)) ?? [];
  if (unknown.length > 0) throw new Error(`--only: there is no part ${unknown.join(", ")}; see --plan`);
  return { provider, isSmall: values.small, python: values.python, seconds, only };
}

async function check({ provider, isSmall, python, seconds, only }: Options): Promise<boolean> {
  const { path: cacheDir, remove } = workFolder("vqd-gpu-check-");
  const device = { provider, threads: provider === "cpu" ? availableParallelism() : 1, cacheDir };
  const report: Record<string, unknown> = {
    provider,
    runtime: RUNTIME_VERSION,
    device: provider === "cpu" ? null : gpuDevice(),
  };
  const model = isSmall ? TINY_MODEL : BUNDLED_MODEL;
  let pass = true;
  /** A check that fails makes the whole fail; a measurement says why there is none. */
  const part = async (name: string, kind: "check" | "measurement", work: () => Promise<unknown>) => {
    if (only?.includes(name) === false) return;
    const at = performance.now() / 1_000;
    if (kind === "measurement" && at > seconds) {
      report[name] = { left_out: "no time left" };
      return;
    }
    process.stderr.write(`${name}\n`);
    try {
      report[name] = await work();
    } catch (error) {
      report[name] = { [kind === "check" ? "failed" : "left_out"]: messageOf(error) };
      if (kind === "check") pass = false;
    }
  };
  try {
    for (const form of GPU_QUANTIZATIONS) {
      // 4-bit weights are measured, not promised: docs/quantization.md.
      await part(`form_${form}`, form === "w4a16" ? "measurement" : "check", () =>
        checkForm(model, form, device),
      );
    }
    await part("fallback", "check", () => checkFallback(model, "w8a16", device));
    await part("tiles", "check", () => checkTiles(isSmall ? 256 : 1_024, device));
    const runs = isSmall ? ["batch_cfg"] : ["ten", "partial", "batch_cfg"];
    await part("parity", "check", () => checkParity(device, runs));
    const repeats = isSmall ? 2 : 10;
    await part("peak", "measurement", () => measurePeak(device, isSmall ? 256 : 4_096, repeats));
    const images = isSmall ? [1, 2] : [1, 2, 4, 8, 16, 32];
    await part("steps", "measurement", () => measureSteps(model, "w8a16", { device, images, repeats }));
    await part("images", "measurement", () =>
      measureImages(model, isSmall ? { images: 1, steps: 4 } : { images: 16, steps: 25 }, device),
    );
    for (const shape of isSmall ? [] : SHAPES) {
      const { layers } = shape;
      const folder = join(cacheDir, `shape${layers}`);
      await part(`shape${layers}`, "measurement", async () => {
        const lack = lackOfRoom(shape, provider, cacheDir);
        if (lack !== undefined) throw new Error(lack);
        writePublishedShape(folder, layers, "safetensors");
        return measureSteps(folder, "w8a16", { device, images: shape.images, repeats });
      });
      if (python === undefined) continue;
      await part(`torch${layers}`, "measurement", () =>
        measureTorch({ python, layers, rows: 2, repeats, device: provider === "cpu" ? "cpu" : "cuda" }),
      );
    }
  } finally {
    remove();
  }
  process.stdout.write(`${JSON.stringify({ ...report, pass }, undefined, 2)}\n`);
  return pass;
}

const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
};

try {
  const options = readOptions();
  if (options !== undefined) process.exitCode = (await check(options)) ? 0 : 1;
} catch (error) {
  process.stderr.write(`gpu-check: ${messageOf(error)}\n`);
  process.exitCode = 2;
}
