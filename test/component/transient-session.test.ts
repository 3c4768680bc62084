// A session that is freed between its uses gives what one that stays gives, and those at the same time share it.

import { afterAll, beforeAll, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { ensureGraphs, graphBytes, graphPath } from "../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../gpu-worker/graph/form.ts";
import { TransientSession } from "../../gpu-worker/pipeline/transient-session.ts";
import { floatData, floatTensor, type Session } from "../../gpu-worker/runtime/session.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

let path: string;
let staying: TransientSession;
let shape: readonly [number, number, number];
const options = { provider: "cpu", threads: 1, keepsMemory: false } as const;

beforeAll(async () => {
  const checkpoint = new DiffusersCheckpoint(TINY_CHECKPOINT);
  const cacheDir = await temporaryFolder();
  const graphs = ensureGraphs(checkpoint, checkpoint.version(), { cacheDir, form: graphForm("cpu", "none") });
  expect(graphBytes(graphs, "cross-attention")).toBeGreaterThan(0);
  path = graphPath(graphs, "cross-attention");
  shape = [1, checkpoint.tokenizer.maxLength, checkpoint.transformer.cross_attention_dim];
  staying = new TransientSession(path, { ...options, stays: true });
});
afterAll(() => staying.release());

const runOn =
  (from: number) =>
  async (session: Session): Promise<Float32Array> => {
    const values = Float32Array.from({ length: shape[1] * shape[2] }, (_, i) => Math.sin(from + i));
    return floatData(await session.run({ embeddings: floatTensor(values, shape) }, "cross"));
  };

it("keeps its results when it is freed", async () => {
  const passing = new TransientSession(path, { ...options, stays: false });
  const first = await passing.use(runOn(1));
  const second = await passing.use(runOn(2));
  expect(first).toEqual(await staying.use(runOn(1)));
  expect(second).toEqual(await staying.use(runOn(2)));
});

it("is one session for those at the same time, and another one afterwards", async () => {
  const passing = new TransientSession(path, { ...options, stays: false });
  const seen: Session[] = [];
  const use = (): Promise<Float32Array> =>
    passing.use((session) => {
      seen.push(session);
      return runOn(3)(session);
    });
  const [a, b] = await Promise.all([use(), use()]);
  expect(a).toEqual(b);
  await use();
  expect(seen[0]).toBe(seen[1]);
  expect(seen[2]).not.toBe(seen[0]);
});

it("can be used again after a use, or its load, has failed", async () => {
  const passing = new TransientSession(path, { ...options, stays: false });
  await expect(passing.use(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await passing.use(runOn(4))).toEqual(await staying.use(runOn(4)));
  const missing = new TransientSession(`${path}.missing`, { ...options, stays: true });
  for (let i = 0; i < 2; i++) await expect(missing.use(runOn(1))).rejects.toThrow(/missing/);
});

it("is released without the error of a load that fails meanwhile", async () => {
  const missing = new TransientSession(`${path}.missing`, { ...options, stays: true });
  const use = expect(missing.use(runOn(1))).rejects.toThrow(/missing/);
  await missing.release();
  await use;
});
