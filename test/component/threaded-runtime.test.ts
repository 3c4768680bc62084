// Sessions on threads of their own: the same numbers, a free event loop, errors that arrive.

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { ThreadedRuntime } from "../../gpu-worker/runtime/threaded-runtime.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

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
  const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
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
