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
  --plan           what is needed here and what will be done, and nothing else
  -h, --help       this text
`;

const PLAN = `Bring along: a copy of the repository with node_modules (npm ci), and node_modules/.bin/node, which npm start installs.
For cuda also: CUDA 13 and cuDNN 9, and beside node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1 the files
  libonnxruntime_providers_cuda.so, libonnxruntime_providers_shared.so
  of onnxruntime ${RUNTIME_VERSION}: its own script fetches them (docs/gpu.md), and PyPI's onnxruntime-gpu ${RUNTIME_VERSION} contains them.
For webgpu also: libvulkan.so.1 and a driver.
For the comparison: a Python with torch (--python). Disk: 20 GB in the system's folder for temporary files.

Done in this order, checks first:
  device       name, driver, memory, version of the runtime
  forms        steps of the bundled model with known results in each form; a row alone and in a batch (--small: of a tiny one)
  fallback     the transformer with the CPU forbidden
  parity       the reference's recorded results in fp32, with three whole runs (--small: one)
  peak         one large product in fp16
  steps        guided steps of 1, 2, 4, ... images, and images a second
  shape2       the published shape with 2 of its 36 layers, random weights (these four: not with --small)
  torch2       the same in torch
  shape36      with all layers
  torch36      the same in torch
`;

interface Options {
  readonly provider: Provider;
  readonly isSmall: boolean;
  readonly python: string | undefined;
  readonly seconds: number;
}

/** Undefined if only a text is wanted, which is printed. */
function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      provider: { type: "string", default: "cuda" },
      small: { type: "boolean", default: false },
      python: { type: "string" },
      seconds: { type: "string", default: "420" },
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
  return { provider, isSmall: values.small, python: values.python, seconds };
}

async function check({ provider, isSmall, python, seconds }: Options): Promise<boolean> {
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
    const runs = isSmall ? ["batch_cfg"] : ["ten", "partial", "batch_cfg"];
    await part("parity", "check", () => checkParity(device, runs));
    const repeats = isSmall ? 2 : 10;
    await part("peak", "measurement", () => measurePeak(device, isSmall ? 256 : 4_096, repeats));
    const images = isSmall ? [1, 2] : [1, 2, 4, 8, 16, 32];
    await part("steps", "measurement", () => measureSteps(model, "w8a16", { device, images, repeats }));
    await part("images", "measurement", () =>
      measureImages(model, isSmall ? { images: 1, steps: 4 } : { images: 16, steps: 25 }, device),
    );
    for (const layers of isSmall ? [] : [2, 36]) {
      const shape = join(cacheDir, `shape${layers}`);
      const sizes = layers === 2 ? [1, 2, 4, 8] : [1, 2, 4];
      await part(`shape${layers}`, "measurement", async () => {
        writePublishedShape(shape, layers, "safetensors");
        return measureSteps(shape, "w8a16", { device, images: sizes, repeats });
      });
      const peer = python;
      if (peer !== undefined) {
        await part(`torch${layers}`, "measurement", () => measureTorch(peer, shape, 2, repeats));
      }
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
