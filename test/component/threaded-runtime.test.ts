// Sessions on threads of their own: the same numbers, a free event loop, errors that arrive.

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { ThreadedRuntime } from "../../gpu-worker/runtime/threaded-runtime.ts";
import { GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";
import { vulkanDriver } from "../support/vulkan.ts";

/** A module of the project, as scripts import it. */
const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

const call = { prompt: "a picture", seed: 3, numInferenceSteps: 5, guidanceScale: 2 };

it("computes what the calling thread would, and leaves that one free", async () => {
  const cacheDir = await temporaryFolder();
  const direct = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir });
  const threaded = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir, ownThreads: true });
  try {
    const expected = await direct.call(call);
    const [made, beside] = await Promise.all([threaded.call(call), threaded.call({ ...call, seed: 4 })]);
    expect(made.latents).toEqual(expected.latents);
    expect(made.images).toEqual(expected.images);
    expect(beside.latents).not.toEqual(expected.latents);
    expect(threaded.info.numericsId).toBe(direct.info.numericsId);
  } finally {
    await Promise.all([direct.release(), threaded.release()]);
  }
  await expect(threaded.call(call)).rejects.toThrow("released");
});

it("says why a graph cannot be loaded or run", async () => {
  const folder = await temporaryFolder();
  const options = { provider: "cpu", threads: 1 } as const;
  await writeFile(join(folder, "broken.onnx"), "no graph");
  await expect(ThreadedRuntime.create(join(folder, "broken.onnx"), options)).rejects.toThrow(/protobuf/i);
  await expect(ThreadedRuntime.create(join(folder, "none.onnx"), options)).rejects.toThrow(/none\.onnx/);
});

it("does not keep a process that has nothing to wait for", async () => {
  const script = join(await temporaryFolder(), "script.mts");
  await writeFile(
    script,
    `import { VQDiffusionPipeline } from ${url("../../gpu-worker/pipeline/index.ts")};
     const pipeline = await VQDiffusionPipeline.fromPretrained(${JSON.stringify(TINY_CHECKPOINT)}, {
       cacheDir: ${JSON.stringify(await temporaryFolder())}, ownThreads: true });
     const { latents } = await pipeline.call(${JSON.stringify(call)});
     console.log(latents.length);`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: 15_000 });
  expect(stdout).toBe("1\n");
});

it("computes on WebGPU in one session beside others that are made, run and freed", async ({ skip }) => {
  const { driver, missing } = vulkanDriver();
  skip(missing !== undefined, missing);
  const folder = await temporaryFolder();
  const [side, layers] = [32, 20];
  const path = join(folder, "layers.onnx");
  const graph = new GraphBuilder("layers", path);
  const weight = graph.constant(
    Float32Array.from({ length: side * side }, (_, i) => Math.cos(i) / side),
    [side, side],
  );
  const x = graph.input("x", "float32", [side, side]);
  let y = x;
  // Adding x keeps small differences from vanishing: some drivers take them for zero.
  for (let i = 0; i < layers; i++) {
    y = graph.op("Add", [graph.op("Tanh", [graph.op("MatMul", [y, weight])]), x]);
  }
  graph.output("y", "float32", [side, side], y);
  graph.finish();

  const script = join(folder, "script.mts");
  // In a process of its own, as several threads would crash it.
  await writeFile(
    script,
    `import { floatData, floatTensor, Session } from ${url("../../gpu-worker/runtime/session.ts")};
     const load = () => Session.create(${JSON.stringify(path)}, { provider: "webgpu", threads: 1, ownThread: true });
     const side = ${side};
     async function compute(session, seed) {
       const x = Float32Array.from({ length: side * side }, (_, i) => Math.sin(i * seed));
       return floatData(await session.run({ x: floatTensor(x, [side, side]) }, "y"));
     }
     const same = (a, b) => a.every((value, i) => Object.is(value, b[i]));
     const stays = await load();
     const [first, second] = [await compute(stays, 1), await compute(stays, 2)];
     let equal = 0;
     await Promise.all([
       (async () => {
         for (let i = 0; i < 100; i++) if (same(await compute(stays, 1), first)) equal++;
       })(),
       (async () => {
         for (let i = 0; i < 10; i++) {
           const session = await load();
           if (same(await compute(session, 2), second)) equal++;
           await session.release();
         }
       })(),
     ]);
     await stays.release();
     console.log(equal, same(first, second));`,
  );
  const env = { ...process.env, VK_ICD_FILENAMES: driver };
  const { stdout } = await promisify(execFile)(process.execPath, [script], { env });
  expect(stdout).toBe("110 false\n");
});
