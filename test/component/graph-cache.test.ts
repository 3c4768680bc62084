// Built graphs on disk: found again, rebuilt when damaged, and whole when several workers start at once.

import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { ensureGraphs } from "../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../gpu-worker/graph/form.ts";
import { GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { TextConditioner } from "../../gpu-worker/pipeline/conditioning/text-conditioner.ts";
import { floatData, floatTensor, Session } from "../../gpu-worker/runtime/session.ts";
import { vqd } from "../support/cli.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const run = promisify(execFile);
const checkpoint = new DiffusersCheckpoint(TINY_CHECKPOINT);
const version = checkpoint.version();

let cacheDir: string;
let dir: string;
beforeEach(async () => {
  cacheDir = await temporaryFolder();
  dir = ensureGraphs(checkpoint, version, { cacheDir, form: graphForm("cpu", "none") });
});

const inode = async (file: string): Promise<number> => (await stat(join(dir, file))).ino;
const loads = async (): Promise<void> => {
  const text = await TextConditioner.load(checkpoint, dir, { provider: "cpu", threads: 1 });
  await text.release();
};

describe("a graph", () => {
  it("may cut a value into any number of parts", async () => {
    const path = join(cacheDir, "split.onnx");
    const graph = new GraphBuilder("split", path);
    // 144: the modulation of the published model's 36 layers.
    const parts = graph.split(graph.input("x", "float32", [144]), new Array<number>(144).fill(1), 0);
    graph.output("y", "float32", [144], graph.op("Concat", parts.toReversed(), { axis: 0 }));
    graph.finish();
    const session = await Session.create(path, { provider: "cpu", threads: 1 });
    const x = Float32Array.from({ length: 144 }, (_, i) => i);
    expect(floatData(await session.run({ x: floatTensor(x, [144]) }, "y"))).toEqual(x.toReversed());
    await session.release();
  });
});

describe("graphs on disk", () => {
  it("are built ahead of time by vqd build, for a GPU without one", async () => {
    const cache = await temporaryFolder();
    const built = await vqd("build", TINY_CHECKPOINT, "--provider", "cuda", "--cache", cache);
    expect(built).toMatchObject({ code: 0, stderr: "" });
    const folders = () => readdir(join(cache, "graphs"));
    expect(await folders()).toEqual([basename(built.stdout.trim())]);
    // What a worker asks for at its start.
    const form = graphForm("cuda", "w8a16");
    expect(ensureGraphs(checkpoint, version, { cacheDir: cache, form })).toBe(built.stdout.trim());
    expect(await folders()).toHaveLength(1);
    expect(await readdir(built.stdout.trim())).not.toContain("cross-attention.onnx");
  });

  it("are built once", async () => {
    const before = await inode("transformer.onnx");
    expect(ensureGraphs(checkpoint, version, { cacheDir, form: graphForm("cpu", "none") })).toBe(dir);
    expect(await inode("transformer.onnx")).toBe(before);
  });

  it("are the same bytes in every build", async () => {
    const other = ensureGraphs(checkpoint, version, {
      cacheDir: await temporaryFolder(),
      form: graphForm("cpu", "none"),
    });
    for (const file of await readdir(dir)) {
      expect((await readFile(join(other, file))).equals(await readFile(join(dir, file))), file).toBe(true);
    }
  });

  it.each<[string, () => Promise<void>]>([
    ["cut weights", () => truncate(join(dir, "transformer.onnx.weights"), 1000)],
    ["a changed graph", () => writeFile(join(dir, "vq-decoder.onnx"), "x", { flag: "r+" })],
    ["no inventory", () => truncate(join(dir, "inventory.json"), 0)],
    ["an empty inventory", () => writeFile(join(dir, "inventory.json"), "{}")],
    ["an inventory of another form", () => writeFile(join(dir, "inventory.json"), "[1]")],
  ])("are rebuilt after %s", async (_, damage) => {
    const original = await readFile(join(dir, "transformer.onnx.weights"));
    await damage();
    expect(ensureGraphs(checkpoint, version, { cacheDir, form: graphForm("cpu", "none") })).toBe(dir);
    expect((await readFile(join(dir, "transformer.onnx.weights"))).equals(original)).toBe(true);
    expect(await readdir(join(cacheDir, "graphs"))).toHaveLength(1);
    await loads();
  });

  it("leave nothing behind of a process that died a day ago, and keep what is being built", async () => {
    const [old, young] = [`${dir}.tmp-old`, `${dir}.tmp-young`];
    await mkdir(old);
    await mkdir(young);
    const twoDaysAgo = new Date(Date.now() - 48 * 3600 * 1000);
    await utimes(old, twoDaysAgo, twoDaysAgo);
    await truncate(join(dir, "inventory.json"), 0);
    ensureGraphs(checkpoint, version, { cacheDir, form: graphForm("cpu", "none") });
    const left = await readdir(join(cacheDir, "graphs"));
    expect(left.toSorted()).toEqual([dir, young].map((path) => basename(path)).toSorted());
  });

  it.each(["missing", "damaged"])("are whole when three processes find them %s at once", async (state) => {
    const shared = state === "missing" ? await temporaryFolder() : cacheDir;
    if (state === "damaged") await truncate(join(dir, "transformer.onnx.weights"), 1000);
    const gpuWorker = join(import.meta.dirname, "..", "..", "gpu-worker");
    const script = `
      import { VQDiffusionPipeline } from ${JSON.stringify(join(gpuWorker, "pipeline", "pipeline.ts"))};
      const cacheDir = ${JSON.stringify(shared)};
      const pipeline = await VQDiffusionPipeline.fromPretrained(${JSON.stringify(TINY_CHECKPOINT)}, { cacheDir });
      const { latents } = await pipeline.call({ prompt: "a", seed: 7, numInferenceSteps: 2 });
      process.stdout.write(latents[0].join());
      await pipeline.release();`;
    const results = await Promise.all(
      [0, 1, 2].map(() => run(process.execPath, ["--input-type=module", "--eval", script])),
    );
    expect(new Set(results.map(({ stdout }) => stdout)).size).toBe(1);
    expect(results[0]?.stdout.split(",")).toHaveLength(64);
    expect(await readdir(join(shared, "graphs"))).toHaveLength(1);
  });
});
