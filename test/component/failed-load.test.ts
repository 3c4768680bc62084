// A model that cannot be loaded leaves no sessions behind; a part that is loaded later can be tried again.

import { cp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { ensureGraphs, graphPath } from "../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../gpu-worker/graph/form.ts";
import { allOrNone } from "../../gpu-worker/pipeline/all-or-none.ts";
import { Denoiser } from "../../gpu-worker/pipeline/denoiser.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { TextConditioner } from "../../gpu-worker/pipeline/conditioning/text-conditioner.ts";
import { VQModel } from "../../gpu-worker/pipeline/vq-model.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const UNCONDITIONAL = "learned_classifier_free_sampling_embeddings/diffusion_pytorch_model.safetensors";

let cacheDir: string;
/** Each session has a thread of its own here, so that one that is left shows. */
let threads: Worker[];
const note = (thread: Worker): number => threads.push(thread);

beforeEach(async () => {
  cacheDir = await temporaryFolder();
  threads = [];
  process.on("worker", note);
});
afterEach(() => process.off("worker", note));

function buildGraphs(checkpoint: DiffusersCheckpoint): string {
  return ensureGraphs(checkpoint, checkpoint.version(), { cacheDir, form: graphForm("cpu", "none") });
}

/** A thread that has ended has no id. */
const running = (): Worker[] => threads.filter(({ threadId }) => threadId !== -1);

it.each(["text-encoder", "cross-attention", "transformer", "vq-decoder"] as const)(
  "without its graph %s",
  async (name) => {
    const checkpoint = new DiffusersCheckpoint(TINY_CHECKPOINT);
    const graphs = buildGraphs(checkpoint);
    await rm(graphPath(graphs, name));
    const options = { provider: "cpu", threads: 1, ownThread: true } as const;
    const loading = allOrNone<[TextConditioner, Denoiser, VQModel]>([
      TextConditioner.load(checkpoint, graphs, options),
      Denoiser.load(checkpoint, graphs, options),
      VQModel.load(checkpoint, graphs, options),
    ]);
    await expect(loading).rejects.toThrow(`${name}.onnx`);
    expect(threads.length).toBeGreaterThanOrEqual(3);
    expect(running()).toEqual([]);
  },
);

it.each<[string, RegExp, number, (path: string) => Promise<void>]>([
  ["is missing", /weights are missing/, 0, (path) => rm(path)],
  [
    "has another tensor",
    /tensor embeddings is missing/,
    2,
    async (path) => {
      const bytes = await readFile(path, "latin1");
      await writeFile(path, bytes.replace('"embeddings"', '"embedding_"'), "latin1");
    },
  ],
])("whose unconditional embedding %s", async (_, reason, expected, change) => {
  const dir = join(await temporaryFolder(), "checkpoint");
  await cp(TINY_CHECKPOINT, dir, { recursive: true });
  await change(join(dir, UNCONDITIONAL));
  const loading = VQDiffusionPipeline.fromPretrained(dir, { cacheDir, ownThreads: true });
  await expect(loading).rejects.toThrow(reason);
  expect(threads).toHaveLength(expected);
  expect(running()).toEqual([]);
});

it("loads the encoder of images again after it could not be loaded, and can be released in between", async () => {
  const checkpoint = new DiffusersCheckpoint(TINY_CHECKPOINT);
  const path = graphPath(buildGraphs(checkpoint), "vq-encoder");
  const load = () => VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir });
  const [pipeline, other] = [await load(), await load()];
  const [image] = await pipeline.decode([new Uint16Array(64).fill(7)]);
  if (image === undefined) throw new Error("no image");
  await rename(path, `${path}.away`);
  for (const one of [pipeline, other]) {
    await expect(one.encodeImage(image)).rejects.toThrow("vq-encoder.onnx");
  }
  await other.release();
  await rename(`${path}.away`, path);
  expect(await pipeline.encodeImage(image)).toHaveLength(64);
  await pipeline.release();
});
