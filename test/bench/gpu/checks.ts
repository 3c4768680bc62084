// What `npm run gpu-check` checks and measures, part by part.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { DigestCache } from "../../../gpu-worker/checkpoint/files/digest-cache.ts";
import { DiffusersCheckpoint } from "../../../gpu-worker/checkpoint/diffusers-layout.ts";
import { readGolden } from "../../../gpu-worker/checkpoint/golden.ts";
import { ensureGraphs, graphPath } from "../../../gpu-worker/graph/cache.ts";
import { graphForm, type Quantization } from "../../../gpu-worker/graph/form.ts";
import { GraphBuilder } from "../../../gpu-worker/graph/onnx.ts";
import { runParity } from "../../../gpu-worker/parity/parity.ts";
import { VQDiffusionPipeline } from "../../../gpu-worker/pipeline/pipeline.ts";
import { floatTensor, type Provider, Session } from "../../../gpu-worker/runtime/session.ts";
import { exactSteps, isBatchInvariant } from "../../../gpu-worker/serving/device-check.ts";
import { selfCheck } from "../../../gpu-worker/serving/self-check.ts";
import { GUIDANCE_SCALE } from "../step-case.ts";
import { stepOperations } from "../roofline.ts";
import { OutOfTimeError, type TimeLeft } from "./time-left.ts";

const TINY = join(import.meta.dirname, "..", "..", "fixtures", "tiny");

/** A few kilobytes of random weights, for drivers to which the bundled model is too large. */
export const TINY_MODEL = join(TINY, "checkpoint");

export interface Device {
  readonly provider: Provider;
  readonly threads: number;
  readonly cacheDir: string;
}

const load = (model: string, quantization: Quantization, device: Device): Promise<VQDiffusionPipeline> =>
  VQDiffusionPipeline.fromPretrained(model, {
    ...device,
    quantization,
    drawsOnDevice: true,
    ownThreads: true,
  });

/** Steps of a model with known results, in a form: how far it is off, and whether a row is the same alone as in a batch. */
export async function checkForm(model: string, quantization: Quantization, device: Device) {
  const startedAt = performance.now();
  const pipeline = await load(model, quantization, device);
  try {
    const seconds = (performance.now() - startedAt) / 1_000;
    // Not those that the pipeline itself would record on a CPU: it agrees with these in any case.
    const golden =
      readGolden(new DiffusersCheckpoint(model).folder) ?? (await exactSteps(model, device.cacheDir));
    const { error, agreement } = await selfCheck(pipeline, golden);
    return {
      load_seconds: rounded(seconds),
      log_prob_error: rounded(error, 5),
      same_most_likely: rounded(agreement, 5),
      batch_invariant: await isBatchInvariant(pipeline, golden),
    };
  } finally {
    await pipeline.release();
  }
}

/** The reference's recorded results, in fp32. */
export async function checkParity({ provider, threads, cacheDir }: Device, runs: readonly string[]) {
  const {
    pass,
    stages,
    runs: made,
  } = await runParity({
    checkpoint: TINY_MODEL,
    vectors: join(TINY, "vectors.json"),
    quantization: "none",
    provider,
    threads,
    cacheDir,
    runs,
  });
  const failed = [...Object.entries(stages), ...Object.entries(made)].flatMap(([name, result]) =>
    result === null || result.pass ? [] : [name],
  );
  if (!pass) throw new Error(`not within the limits: ${failed.join(", ")}`);
  return { runs, log_prob_max_error: stages["transformer"]?.maxAbsDiff ?? null };
}

/** Loads the transformer with the CPU forbidden. */
export async function checkFallback(
  model: string,
  quantization: Quantization,
  { provider, cacheDir }: Device,
) {
  const checkpoint = new DiffusersCheckpoint(model);
  const version = checkpoint.version(new DigestCache(cacheDir));
  const graphs = ensureGraphs(checkpoint, version, {
    cacheDir,
    form: graphForm(provider, quantization, true),
  });
  const path = graphPath(graphs, "transformer");
  const session = await Session.create(path, { provider, threads: 1, forbidsCpu: provider !== "cpu" });
  await session.release();
  return { nodes_on_cpu: provider === "cpu" ? null : 0 };
}

export interface StepTimes {
  readonly images: number;
  readonly step_ms: number;
  readonly last_step_ms: number;
  readonly tera_operations_per_second: number;
  readonly transfer: unknown;
}

/**
 * Guided steps of 1, 2, 4, ... images: in the middle of a run, and the last one, which evaluates every pixel. Ends before a size
 * for which `time` does not suffice; `onProgress` gets what is known so far.
 */
export async function measureSteps(
  model: string,
  quantization: Quantization,
  {
    device,
    images: sizes,
    repeats,
    time,
    onProgress,
  }: {
    device: Device;
    images: readonly number[];
    repeats: number;
    time: TimeLeft;
    onProgress: (found: { load_seconds: number; sizes: readonly StepTimes[] }) => void;
  },
) {
  const startedAt = performance.now();
  const pipeline = await load(model, quantization, device);
  const loadSeconds = rounded((performance.now() - startedAt) / 1_000);
  const { transformer, tokenizer } = new DiffusersCheckpoint(model);
  try {
    const [prompt] = await pipeline.encodePrompt([[...pipeline.tokenize("").ids]]);
    if (prompt === undefined) throw new Error("the empty prompt has no conditioning");
    const negative = await pipeline.encodeNegativePrompt(null);
    const steps = Math.min(10, pipeline.info.numTrainTimesteps);
    const slotsAt = (images: number, stepIndex: number) =>
      pipeline.prepareLatents(images).map((tokens, image) =>
        pipeline.makeSlot({
          tokens,
          image,
          stepIndex,
          prompt,
          negative,
          seed: 1,
          guidanceScale: GUIDANCE_SCALE,
          truncationRate: 1,
          numInferenceSteps: steps,
          scheduler: "strided",
        }),
      );
    const done: StepTimes[] = [];
    onProgress({ load_seconds: loadSeconds, sizes: done });
    let needed = 0;
    for (const images of sizes) {
      const before = time.secondsLeft();
      if (before < needed) throw new OutOfTimeError(`no time for steps of ${images} images`);
      const at = (stepIndex: number) => () => pipeline.stepSlots(slotsAt(images, stepIndex));
      // Of the time that is left, a third for each size: the next one takes twice as long.
      const middle = await best(repeats, at(Math.min(4, steps - 1)), time.share(1 / 6));
      const last = await best(repeats, at(steps - 1), time.share(1 / 6));
      const asked = pipeline.info.latentHeight * pipeline.info.latentWidth;
      const operations = images * stepOperations(transformer, { asked, textLength: tokenizer.maxLength });
      done.push({
        images,
        step_ms: rounded(middle),
        last_step_ms: rounded(last),
        tera_operations_per_second: rounded(operations / last / 1e9, 4),
        transfer: pipeline.model.denoiser.transfer,
      });
      onProgress({ load_seconds: loadSeconds, sizes: done });
      // Of twice as many images, each step at least twice: one that prepares, one that counts.
      needed = (2 * 2 * (middle + last)) / 1_000;
    }
    return { load_seconds: loadSeconds, sizes: done };
  } finally {
    await pipeline.release();
  }
}

/** Images a second from prompts, all in one pass at each step. */
export async function measureImages(
  model: string,
  { images, steps }: { images: number; steps: number },
  device: Device,
) {
  const pipeline = await load(model, "w8a16", device);
  try {
    const call = () =>
      pipeline.call({
        prompt: "red apple",
        seed: 1,
        numImagesPerPrompt: images,
        numInferenceSteps: steps,
        scheduler: "strided",
      });
    return { images, steps, images_per_second: rounded((1_000 * images) / (await best(1, call))) };
  } finally {
    await pipeline.release();
  }
}

/**
 * Operations per second of large fp16 products in a row: what the device can do, as the runtime uses it. Their first factor is made on
 * the device: to upload it would take longer than to multiply it.
 */
export async function measurePeak(
  { provider, threads, cacheDir }: Device,
  { size, products, repeats }: { size: number; products: number; repeats: number },
) {
  const path = join(cacheDir, "peak.onnx");
  const graph = new GraphBuilder("peak", path);
  const weight = graph.floats(new Float32Array(size * size).fill(1 / size), [size, size], "float16");
  let y = graph.op("Add", [weight, graph.cast(graph.input("x", "float32", [size, 1]), "float16")]);
  for (let i = 0; i < products; i++) y = graph.op("MatMul", [y, weight]);
  const largest = graph.op("ReduceMax", [graph.cast(y, "float32")], { axes: [0, 1], keepdims: 0 });
  graph.output("y", "float32", [], largest);
  graph.finish();
  const session = await Session.create(path, { provider, threads });
  try {
    const feeds = { x: floatTensor(new Float32Array(size).fill(1), [size, 1]) };
    const ms = await best(repeats, () => session.run(feeds, "y"));
    return { tera_operations_per_second: rounded((2 * products * size ** 3) / ms / 1e9, 4) };
  } finally {
    await session.release();
  }
}

/** A pass of `rows` of the published shape with so many layers in torch, and in diffusers where Python has it. */
export async function measureTorch({
  python,
  ...shape
}: {
  python: string;
  layers: number;
  rows: number;
  repeats: number;
  device: "cpu" | "cuda";
}) {
  const script = join(import.meta.dirname, "torch_step.py");
  const run = promisify(execFile);
  const { stdout } = await run(python, [script, JSON.stringify(shape)]);
  // Libraries may print before it.
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as object;
}

/** The fastest of `repeats` runs in ms, after one that prepares; of fewer, but at least one, if `seconds` are over before. */
async function best(repeats: number, work: () => Promise<unknown>, seconds = Infinity): Promise<number> {
  const endsAt = performance.now() + 1_000 * seconds;
  let least = Infinity;
  await work();
  for (let i = 0; i < repeats && (i === 0 || performance.now() < endsAt); i++) {
    const startedAt = performance.now();
    await work();
    least = Math.min(least, performance.now() - startedAt);
  }
  return least;
}

const rounded = (value: number, digits = 2): number => Number(value.toFixed(digits));
