// Attention in tiles beside attention as a whole, on the device.

import { join } from "node:path";
import { attention } from "../../../gpu-worker/graph/layers.ts";
import type { FloatType } from "../../../gpu-worker/graph/onnx.ts";
import { GraphBuilder } from "../../../gpu-worker/graph/onnx.ts";
import { floatData, floatTensor, Session } from "../../../gpu-worker/runtime/session.ts";
import type { Device } from "./checks.ts";

const HEADS = 16;
const TILE = 4;
const HEAD_DIM = 88;

/** Self-attention of 16 heads among `length` pixels, 4 heads at a time, and all. Throws if a value differs in any bit. */
export async function checkTiles(length: number, { provider, threads, cacheDir }: Device) {
  const width = HEADS * HEAD_DIM;
  const compare = async (activations: FloatType): Promise<void> => {
    const path = join(cacheDir, `tiles-${activations}.onnx`);
    const graph = new GraphBuilder("tiles", path);
    const x = graph.cast(graph.input("x", "float32", ["rows", length, width]), activations);
    const shape = { heads: HEADS, headDim: HEAD_DIM, activations };
    for (const [name, tile] of [
      ["whole", HEADS],
      ["tiled", TILE],
    ] as const) {
      const y = attention(graph, [x, x, x], { ...shape, tile });
      graph.output(name, "float32", ["rows", length, width], graph.cast(y, "float32"));
    }
    graph.finish();
    const session = await Session.create(path, { provider, threads });
    try {
      const data = Float32Array.from({ length: length * width }, (_, i) => 2 * Math.sin(i * 0.37));
      const feeds = { x: floatTensor(data, [1, length, width]) };
      const whole = floatData(await session.run(feeds, "whole"));
      const tiled = floatData(await session.run(feeds, "tiled"));
      const different = whole.filter((value, i) => !Object.is(value, tiled[i])).length;
      if (different > 0) throw new Error(`${different} of ${whole.length} values differ in ${activations}`);
    } finally {
      await session.release();
    }
  };
  await compare("float32");
  await compare("float16");
  return { pixels: length, heads: HEADS, heads_at_once: TILE, different: 0 };
}
