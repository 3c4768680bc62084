// Conditionings are made once, kept within the bound, and the same as without a cache.

import { expect, it } from "vitest";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/index.ts";
import { PromptCache } from "../../gpu-worker/pipeline/conditioning/prompt-cache.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

/** A cache of `kept` entries of four bytes, and what was made for it. */
function counting(kept: number) {
  const made: string[] = [];
  const cache = new PromptCache(kept * 4);
  const ask = (...ids: number[]) =>
    cache.get(ids, async () => {
      made.push(ids.join());
      return { cross: Float32Array.from(ids.slice(0, 1)) };
    });
  return { cache, made, ask };
}

it("makes a prompt once, also when it is asked for twice at the same time", async () => {
  const { cache, made, ask } = counting(2);
  const [first, second] = await Promise.all([ask(1, 2), ask(1, 2)]);
  expect(first).toBe(second);
  expect(await ask(1, 2)).toBe(first);
  await ask(12);
  expect(made).toEqual(["1,2", "12"]);
  expect(cache.bytes).toBe(8);
});

it("throws out what was not used for longest", async () => {
  const { cache, made, ask } = counting(2);
  await ask(1);
  await ask(2);
  await ask(1);
  await ask(3);
  expect(cache.bytes).toBe(8);
  await ask(1);
  await ask(3);
  expect(made).toEqual(["1", "2", "3"]);
  await ask(2);
  expect(made).toEqual(["1", "2", "3", "2"]);
});

it("keeps nothing that is larger than it, and nothing that failed", async () => {
  const none = counting(0);
  await none.ask(1);
  await none.ask(1);
  expect(none.made).toEqual(["1", "1"]);
  expect(none.cache.bytes).toBe(0);

  const cache = new PromptCache(100);
  await expect(cache.get([1], () => Promise.reject(new Error("no memory")))).rejects.toThrow("no memory");
  const { cross } = await cache.get([1], () => Promise.resolve({ cross: new Float32Array(2) }));
  expect(cross).toHaveLength(2);
  expect(cache.bytes).toBe(8);
});

it("gives a pipeline the same bits as making it anew", async () => {
  const cacheDir = await temporaryFolder();
  const [cached, plain] = await Promise.all([
    VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir }),
    VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir, promptCacheBytes: 0 }),
  ]);
  try {
    const ids = [cached.tokenize("red apple").ids, cached.tokenize("cat").ids];
    const once = await cached.encodePrompt(ids);
    const again = await cached.encodePrompt(ids.toReversed());
    expect(again[0]).toBe(once[1]);
    expect(again[1]).toBe(once[0]);
    const fresh = await plain.encodePrompt(ids);
    expect((await plain.encodePrompt(ids))[0]).not.toBe(fresh[0]);
    expect(fresh).toEqual(once);
    await expect(cached.encodePrompt([[1, 2, 3]])).rejects.toThrow(/promptIds/);
  } finally {
    await Promise.all([cached.release(), plain.release()]);
  }
});
