// The denoising transformer (diffusers' Transformer2DModel on latent pixels) and its cross-attention's keys and values.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/diffusers-layout.ts";
import {
  addBias,
  attention,
  layerNorm,
  linear,
  linearInput,
  matMul,
  product,
  QUICK_GELU_LOWEST,
  quickGelu,
} from "./layers.ts";
import { type LinearWeights, readLinear } from "./linear-weights.ts";
import type { GraphForm, Quantization } from "./form.ts";
import { buildModulation } from "./modulation.ts";
import type { GraphBuilder } from "./onnx.ts";
import { roundedWeights, RowGroup } from "./quantize.ts";

export const EPSILON = 1e-5;
export const block = (i: number): string => `transformer_blocks.${i}`;

/** Width of the residual stream. */
export const transformerWidth = (config: TransformerConfig): number =>
  config.num_attention_heads * config.attention_head_dim;

/**
 * Keys and values of every layer's cross-attention, which depend only on the prompt: computed in fp32, once per prompt
 * rather than once per step. Input `embeddings` [B, S, E], output `cross` [B, 2 x layers, S, D]: key and value of layer
 * 0, of layer 1, ...
 */
export function buildCrossAttention(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  textLength: number,
): void {
  const width = transformerWidth(config);
  const embeddings = graph.input("embeddings", "float32", ["batch", textLength, config.cross_attention_dim]);
  // Layer by layer: in the published model these are 72 matrices.
  const parts = Array.from({ length: config.num_layers }, (_, i) =>
    ["to_k", "to_v"].map((name) => {
      const layer = readLinear(weights, `${block(i)}.attn2.${name}`, config.cross_attention_dim, width);
      return graph.op("Unsqueeze", [matMul(graph, embeddings, layer), graph.ints([1])]);
    }),
  ).flat();
  const cross = graph.op("Concat", parts, { axis: 1 });
  graph.output("cross", "float32", ["batch", parts.length, textLength, width], cross);
}

/**
 * One denoising pass over B rows of N images. The two rows of a guided image differ only in their prompt, so everything
 * before the first cross-attention is computed once for both.
 *
 * Inputs: `tokens` int64 [N, L] (class ids, the mask being the last class) and `timestep` int64 [N] of each image;
 * `image` int64 [B], the image of each row; `cross` as above, for P prompts; `prompt` int64 [B], the prompt of each row;
 * `asked` int64 [B, W], the pixels to evaluate, as row x L + pixel. Output `log_probs` [B, W, K]: log p(x_0 | x_t, y)
 * over the K classes without the mask.
 *
 * Up to the last layer's keys and values all pixels are computed, since the others attend to them; from there on only
 * the pixels to evaluate.
 */
export function buildTransformer(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  { textLength, ...graphForm }: GraphForm & { textLength: number },
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
  };
  const tokens = graph.input("tokens", "int64", ["images", pixels]);
  const timestep = graph.input("timestep", "int64", ["images"]);
  const image = graph.input("image", "int64", ["batch"]);
  const cross = graph.input("cross", "float32", ["prompts", 2 * layers, textLength, width]);
  const prompt = graph.input("prompt", "int64", ["batch"]);
  const asked = graph.input("asked", "int64", ["batch", "asked"]);

  const gather = (x: string, indices: string): string => graph.op("Gather", [x, indices], { axis: 0 });
  const select = (x: string, size = width): string =>
    gather(graph.op("Reshape", [x, graph.ints([-1, size])]), asked);
  // Layer by layer, where they are needed: together they take 31 MB per prompt in the published model.
  const crossRows = graph.op("Reshape", [cross, graph.ints([-1, textLength, width])]);
  const firstCrossRow = graph.op("Mul", [prompt, graph.ints([2 * layers])]);
  const crossPart = (i: number): string =>
    gather(crossRows, i === 0 ? firstCrossRow : graph.op("Add", [firstCrossRow, graph.ints([i])]));
  const modulations = buildModulation(graph, weights, config, { timestep, image });

  const groupForm = (length: number | string) => ({ ...graphForm, group: new RowGroup(graph, length) });
  const rowForm = groupForm(pixels);
  const askedForm = groupForm(graph.op("Shape", [asked]));
  const norm = (input: string, modulation: readonly [string, string]): string =>
    modulatedNorm(graph, input, width, modulation);
  const affineNorm = (input: string, prefix: string): string =>
    layerNorm(graph, input, weights, prefix, width, EPSILON);

  let x = embedLatentPixels(graph, weights, config, tokens);
  let form = groupForm(pixels);
  for (let i = 0; i < layers; i++) {
    const read = (name: string, inputs: number, outputs: number) =>
      readLinear(weights, `${block(i)}.${name}`, inputs, outputs);
    const isLast = i === layers - 1;
    const byRow = (): void => {
      x = gather(x, image);
      form = rowForm;
    };
    const add = (branch: string, bias: Float32Array | undefined): string =>
      graph.op("Add", [x, addBias(graph, branch, bias)]);
    // Pixels are selected by row, so a model with a single layer starts with rows.
    if (i === 0 && isLast) byRow();
    const modulation = form === rowForm ? modulations.byRow : modulations.byImage;

    const self = norm(x, modulation(i, 0));
    const context = linearInput(graph, self, width, form);
    const [toQuery, toKey, toValue] = selfProjections(read, width);
    const key = product(graph, context, toKey);
    const value = product(graph, context, toValue);
    let asking = context;
    if (isLast) {
      form = askedForm;
      x = select(x);
      asking =
        context.int8 === undefined
          ? { x: select(self), int8: undefined }
          : {
              x: "",
              int8: {
                ...context.int8,
                values: select(context.int8.values),
                scales: select(context.int8.scales, 1),
              },
            };
    }
    const query = addBias(graph, product(graph, asking, toQuery), toQuery.bias);
    const mixed = attention(graph, [query, key, value], shape);
    const selfOut = foldValueBias(read("attn1.to_out.0", width, width), toValue.bias, form.quantization);
    x = add(product(graph, linearInput(graph, mixed, width, form), selfOut), selfOut.bias);

    let crossQuery = linear(graph, norm(x, modulation(i, 1)), read("attn2.to_q", width, width), form);
    if (i === 0 && !isLast) {
      crossQuery = gather(crossQuery, image);
      byRow();
    }
    const seen = attention(graph, [crossQuery, crossPart(2 * i), crossPart(2 * i + 1)], shape);
    x = graph.op("Add", [x, linear(graph, seen, read("attn2.to_out.0", width, width), form)]);

    const normed = affineNorm(x, `${block(i)}.norm3`);
    const hidden = quickGelu(graph, linear(graph, normed, read("ff.net.0.proj", width, inner), form));
    const mlpOut = read("ff.net.2", inner, width);
    const mlpInput = linearInput(graph, hidden, inner, form, QUICK_GELU_LOWEST);
    x = add(product(graph, mlpInput, mlpOut), mlpOut.bias);
  }

  const logits = linear(graph, affineNorm(x, "norm_out"), readLinear(weights, "out", width, classes), form);
  const logProbs = graph.op("LogSoftmax", [logits], { axis: -1 });
  graph.output("log_probs", "float32", ["batch", "asked", classes], logProbs);
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
  quantization: Quantization,
): LinearWeights {
  if (valueBias === undefined) return out;
  const { inputs, outputs } = out;
  // Using the weights of the product that it would have passed through: int8 checkpoints have no others.
  const weight = quantization === "int8" ? roundedWeights(out) : out.weight;
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
  [scale, shift]: readonly [string, string],
): string {
  const ones = graph.constant(new Float32Array(width).fill(1), [width]);
  const normed = graph.op("LayerNormalization", [x, ones], { axis: -1, epsilon: { float: EPSILON } });
  return graph.op("Add", [graph.op("Mul", [normed, scale]), shift]);
}
