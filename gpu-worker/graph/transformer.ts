// The denoising transformer (diffusers' Transformer2DModel on latent pixels).

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import {
  addAndNorm,
  addBias,
  attention,
  headsAtOnce,
  linear,
  linearInput,
  norm,
  type NormWeights,
  product,
  QUICK_GELU_LOWEST,
  quickGelu,
  readNorm,
} from "./layers.ts";
import { type LinearWeights, readLinear } from "./linear-weights.ts";
import type { GraphForm } from "./form.ts";
import { block, type CrossAttention, transformerWidth } from "./cross-attention.ts";
import { drawClasses } from "./draw.ts";
import { buildModulation } from "./modulation.ts";
import type { GraphBuilder } from "./onnx.ts";
import { roundedWeights, RowGroup } from "./quantize.ts";
import { dequantizeBlocks, quantizeBlocks } from "./weight-blocks.ts";

/**
 * One denoising pass over B rows of N images. The two rows of a guided image differ only in their prompt, so everything
 * before the first cross-attention is computed once for both.
 *
 * Inputs: `tokens` [N, L] (class ids, the mask being the last class) and `timestep` [N] of each image; `image` [B], the
 * image of each row; those of the cross-attention; `asked` [B, W], the pixels to evaluate, as row x L + pixel. All are
 * int64, or int32 in a graph that draws, since WebGPU has few operators for int64. Output `log_probs` [B, W, K]: log p(x_0
 * | x_t, y) over the K classes without the mask. For a graph that draws see `drawClasses`.
 *
 * Up to the last layer's keys and values all pixels are computed, since the others attend to them; from there on only
 * the pixels to evaluate.
 */
export function buildTransformer(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  { crossAttention, ...graphForm }: GraphForm & { crossAttention: CrossAttention },
): void {
  const width = transformerWidth(config);
  const pixels = config.sample_size ** 2;
  const layers = config.num_layers;
  const inner = config.feed_forward_width;
  const classes = config.num_vector_embeds - 1;
  const shape = {
    heads: config.num_attention_heads,
    headDim: config.attention_head_dim,
    fusedAttention: graphForm.fusedAttention,
    activations: graphForm.activations,
  };
  const tile = headsAtOnce(pixels, shape);
  const index = graphForm.drawsOnDevice ? "int32" : "int64";
  const tokens = graph.input("tokens", index, ["images", pixels]);
  const timestep = graph.input("timestep", index, ["images"]);
  const image = graph.input("image", index, ["batch"]);
  const asked = graph.input("asked", index, ["batch", "asked"]);

  const gather = (x: string, indices: string): string => graph.op("Gather", [x, indices], { axis: 0 });
  const select = (x: string, size = width): string =>
    gather(graph.op("Reshape", [x, graph.ints([-1, size])]), asked);
  const modulations = buildModulation(graph, weights, config, {
    timestep,
    image,
    drawsOnDevice: graphForm.drawsOnDevice,
  });

  const groupForm = (length: number | string) => ({ ...graphForm, group: new RowGroup(graph, length) });
  const rowForm = groupForm(pixels);
  const askedForm = groupForm(graph.op("Shape", [asked]));
  const plain = plainNorm(width);

  let x = embedLatentPixels(graph, weights, config, tokens);
  let normed = norm(graph, x, plain);
  let form = groupForm(pixels);
  for (let i = 0; i < layers; i++) {
    const read = (name: string, inputs: number, outputs: number) =>
      readLinear(weights, `${block(i)}.${name}`, inputs, outputs);
    const isLast = i === layers - 1;
    const byRow = (): void => {
      x = gather(x, image);
      form = rowForm;
    };
    const add = (branch: string, bias: Float32Array | undefined, next: NormWeights): void => {
      ({ sum: x, normed } = addAndNorm(graph, x, { branch, bias }, next, form));
    };
    // Pixels are selected by row, so a model with a single layer starts with rows.
    if (i === 0 && isLast) {
      byRow();
      normed = gather(normed, image);
    }
    const modulation = form === rowForm ? modulations.byRow : modulations.byImage;

    const self = modulate(graph, normed, modulation(i, 0));
    const context = linearInput(graph, self, width, form);
    const [toQuery, toKey, toValue] = selfProjections(read, width);
    const key = product(graph, context, toKey, form);
    const value = product(graph, context, toValue, form);
    let asking = context;
    if (isLast) {
      form = askedForm;
      x = select(x);
      asking =
        context.int8 === undefined
          ? { x: select(context.x), int8: undefined }
          : {
              x: "",
              int8: {
                ...context.int8,
                values: select(context.int8.values),
                scales: select(context.int8.scales, 1),
              },
            };
    }
    const query = addBias(graph, product(graph, asking, toQuery, form), toQuery.bias, form.activations);
    const mixed = attention(graph, [query, key, value], { ...shape, tile });
    const selfOut = foldValueBias(read("attn1.to_out.0", width, width), toValue.bias, form);
    add(product(graph, linearInput(graph, mixed, width, form), selfOut, form), selfOut.bias, plain);

    const asking2 = modulate(graph, normed, modulation(i, 1));
    let crossQuery = linear(graph, asking2, read("attn2.to_q", width, width), form);
    if (i === 0 && !isLast) {
      crossQuery = gather(crossQuery, image);
      byRow();
    }
    const seen = attention(graph, [crossQuery, ...crossAttention(i)], shape);
    const crossOut = read("attn2.to_out.0", width, width);
    const crossed = product(graph, linearInput(graph, seen, width, form), crossOut, form);
    add(crossed, crossOut.bias, readNorm(weights, `${block(i)}.norm3`, width));

    const up = linear(graph, normed, read("ff.net.0.proj", width, inner), form);
    const hidden = quickGelu(graph, up, form.activations);
    const mlpOut = read("ff.net.2", inner, width);
    const mlpInput = linearInput(graph, hidden, inner, form, QUICK_GELU_LOWEST);
    const next = isLast ? readNorm(weights, "norm_out", width) : plain;
    add(product(graph, mlpInput, mlpOut, form), mlpOut.bias, next);
  }

  const logits = linear(graph, normed, readLinear(weights, "out", width, classes), form);
  const wide = form.activations === "float16" ? graph.cast(logits, "float32") : logits;
  const logProbs = graphForm.drawsOnDevice
    ? logSoftmax(graph, wide)
    : graph.op("LogSoftmax", [wide], { axis: -1 });
  graph.output("log_probs", "float32", ["batch", "asked", classes], logProbs);
  if (graphForm.drawsOnDevice) drawClasses(graph, logProbs, classes);
}

/** For WebGPU, which has no such operator: the CPU would compute it, and all logits would leave the device. */
function logSoftmax(graph: GraphBuilder, x: string): string {
  const largest = graph.op("ReduceMax", [x], { axes: [-1], keepdims: 1 });
  const relative = graph.op("Sub", [x, largest]);
  const total = graph.op("ReduceSum", [graph.op("Exp", [relative]), graph.ints([-1])], { keepdims: 1 });
  return graph.op("Sub", [relative, graph.op("Log", [total])]);
}

/**
 * Projections of self-attention to queries, keys and values. The keys' bias adds the same amount to all scores of a
 * query, which the softmax cancels, so it is omitted.
 */
export function selfProjections(
  read: (name: string, inputs: number, outputs: number) => LinearWeights,
  width: number,
): readonly [LinearWeights, LinearWeights, LinearWeights] {
  const [query, key, value] = ["to_q", "to_k", "to_v"].map((name) => read(`attn1.${name}`, width, width));
  if (query === undefined || key === undefined || value === undefined) throw new Error("no projections");
  return [query, { ...key, bias: undefined }, value];
}

/** Attention weights sum to 1, so the values' bias reaches `out` unchanged and can be folded into its bias. */
export function foldValueBias(
  out: LinearWeights,
  valueBias: Float32Array | undefined,
  { quantization, weightBits }: Pick<GraphForm, "quantization" | "weightBits">,
): LinearWeights {
  if (valueBias === undefined) return out;
  const { inputs, outputs } = out;
  // Using the weights of the product that it would have passed through: int8 checkpoints have no others.
  let { weight } = out;
  if (quantization === "int8") weight = roundedWeights(out);
  if (weightBits !== undefined) weight = dequantizeBlocks(quantizeBlocks(out, weightBits), out, weightBits);
  const bias = Float64Array.from(out.bias ?? new Float32Array(outputs));
  for (let row = 0; row < inputs; row++) {
    for (let column = 0; column < outputs; column++) {
      bias[column] =
        (bias[column] ?? outOfBounds()) +
        (valueBias[row] ?? outOfBounds()) * (weight[row * outputs + column] ?? outOfBounds());
    }
  }
  return { ...out, bias: Float32Array.from(bias) };
}

/** Embedding of the class plus embeddings of row and column, which are combined into one table by position. */
export function embedLatentPixels(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  tokens: string,
): string {
  const width = transformerWidth(config);
  const side = config.sample_size;
  const [gridRows, gridColumns] = config.position_grid;
  const rows = weights.tensor("latent_image_embedding.height_emb.weight", [gridRows, width]);
  const columns = weights.tensor("latent_image_embedding.width_emb.weight", [gridColumns, width]);
  const positions = new Float32Array(side * side * width);
  for (let i = 0; i < positions.length; i++) {
    const pixel = Math.floor(i / width);
    const channel = i % width;
    positions[i] =
      (rows[Math.floor(pixel / gridColumns) * width + channel] ?? outOfBounds()) +
      (columns[(pixel % gridColumns) * width + channel] ?? outOfBounds());
  }
  const classes = config.num_vector_embeds;
  const table = graph.constant(weights.tensor("latent_image_embedding.emb.weight", [classes, width]), [
    classes,
    width,
  ]);
  const embedded = graph.op("Gather", [table, tokens], { axis: 0 });
  return graph.op("Add", [embedded, graph.constant(positions, [side * side, width])]);
}

/**
 * LN(x) * (1 + scale) + shift, with a norm that has no weights. (Passed as the norm's own weights, the scale and shift of
 * a batch would take another path through onnxruntime than those of a single image, and give other bits.)
 */
export function modulatedNorm(
  graph: GraphBuilder,
  x: string,
  width: number,
  modulation: readonly [string, string],
): string {
  return modulate(graph, norm(graph, x, plainNorm(width)), modulation);
}

/** Of a norm without weights. */
const plainNorm = (width: number): NormWeights => ({
  scale: new Float32Array(width).fill(1),
  shift: undefined,
});

/** x * (1 + scale) + shift. */
const modulate = (graph: GraphBuilder, x: string, [scale, shift]: readonly [string, string]): string =>
  graph.op("Add", [graph.op("Mul", [x, scale]), shift]);
