// The most that this machine's matrix products give, in the runtime that the pipeline uses.

import { join } from "node:path";
import type { TransformerConfig } from "../../gpu-worker/checkpoint/config.ts";
import { GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { transformerWidth } from "../../gpu-worker/graph/cross-attention.ts";
import { floatTensor, Session } from "../../gpu-worker/runtime/session.ts";
import { workFolder } from "./interrupt.ts";
import { time } from "./step-case.ts";

/** Rows, inner size and columns: the largest product of the published shape's step, a guided image. */
const [ROWS, INNER, COLUMNS] = [2048, 1408, 5632];
/** Products in one run, so that making and returning the values does not count. */
const PRODUCTS = 4;

/**
 * Operations (two for each multiplication and addition) that our graph does in a guided step of one image, of which
 * each of the two rows asks about `asked` pixels.
 */
export function stepOperations(
  config: TransformerConfig,
  { asked, textLength }: { asked: number; textLength: number },
): number {
  const width = transformerWidth(config);
  const pixels = config.sample_size ** 2;
  const rows = 2;
  let sum = rows * asked * width * (config.num_vector_embeds - 1);
  for (let layer = 0; layer < config.num_layers; layer++) {
    const isLast = layer === config.num_layers - 1;
    const before = layer === 0 && !isLast ? 1 : rows;
    const queries = isLast ? asked : pixels;
    // Keys and values; queries, scores and outputs of self-attention; queries of cross-attention.
    sum += before * (2 * pixels * width ** 2 + queries * (3 * width ** 2 + 2 * pixels * width));
    // Scores and outputs of cross-attention; the MLP's two times four.
    sum += rows * queries * (2 * textLength * width + 9 * width ** 2);
  }
  return 2 * sum;
}

/** Billions of operations per second of a large product in fp32 and in int8 with `threads` threads. */
export async function measureRoofline(
  threads: number,
  repeats: number,
): Promise<{ fp32_gops: number; int8_gops: number }> {
  const { path: dir, remove } = workFolder("vqd-roofline-");
  const measure = async (name: string, product: (graph: GraphBuilder, x: string) => string) => {
    const graph = new GraphBuilder(name, join(dir, `${name}.onnx`));
    const x = graph.input("x", "float32", [ROWS, INNER]);
    const sums = Array.from({ length: PRODUCTS }, () =>
      graph.op("ReduceMax", [product(graph, x)], { axes: [0, 1], keepdims: 0 }),
    );
    graph.output("y", "float32", [], graph.op("Sum", sums));
    graph.finish();
    const session = await Session.create(join(dir, `${name}.onnx`), { provider: "cpu", threads });
    const input = floatTensor(new Float32Array(ROWS * INNER).fill(0.5), [ROWS, INNER]);
    const { min } = await time(repeats, () => session.run({ x: input }, "y"));
    await session.release();
    return Math.round((2 * ROWS * INNER * COLUMNS * PRODUCTS) / min / 1e6);
  };
  try {
    return {
      fp32_gops: await measure("fp32", (graph, x) =>
        graph.op("MatMul", [x, graph.constant(weights(Float32Array), [INNER, COLUMNS])]),
      ),
      int8_gops: await measure("int8", (graph, x) =>
        graph.contribOp("MatMulIntegerToFloat", [
          graph.op("QuantizeLinear", [x, graph.scalar(0.01), graph.constant(Uint8Array.of(128), [])]),
          graph.constant(weights(Int8Array), [INNER, COLUMNS]),
          graph.scalar(1),
          graph.constant(new Float32Array(COLUMNS).fill(0.01), [COLUMNS]),
          graph.constant(Uint8Array.of(128), []),
        ]),
      ),
    };
  } finally {
    remove();
  }
}

/** Another matrix each time, or the runtime would see that the products are the same. */
let state = 1;
function weights<T extends Float32Array | Int8Array>(type: new (length: number) => T): T {
  const values = new type(INNER * COLUMNS);
  for (let i = 0; i < values.length; i++) {
    state = (state * 48_271) % 2_147_483_647;
    values[i] = (state % 255) - 127;
  }
  return values;
}
