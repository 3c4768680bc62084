// Denoising transformers without a text encoder: conditioned by class, or by nothing (models of the original code base).

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../../checkpoint/config.ts";
import type { Weights } from "../../checkpoint/diffusers-layout.ts";
import { block, transformerWidth } from "../cross-attention.ts";
import type { GraphForm } from "../form.ts";
import {
  addBias,
  addBranch,
  attention,
  headsAtOnce,
  layerNorm,
  linear,
  linearInput,
  product,
  QUICK_GELU_LOWEST,
  quickGelu,
} from "../layers.ts";
import { readLinear } from "../linear-weights.ts";
import { buildModulation } from "../modulation.ts";
import type { GraphBuilder } from "../onnx.ts";
import { RowGroup } from "../quantize.ts";
import { embedLatentPixels, foldValueBias, modulatedNorm, selfProjections } from "../transformer.ts";

/**
 * One denoising pass over B rows of N images, with the inputs and the output of `buildTransformer`. Of a model that is
 * conditioned by class, `cross` [P, 2 x layers, 1, D] holds 1 + scale and shift of each layer's second norm for each class
 * (`classModulation`); a model that is not conditioned has neither `cross` nor `prompt`.
 *
 * All pixels are computed up to the output: the feed-forward of the last layer may see a pixel's neighbours, too.
 */
export function buildLabelledTransformer(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  graphForm: GraphForm,
): void {
  const width = transformerWidth(config);
  const pixels = config.sample_size ** 2;
  const { num_layers: layers, feed_forward_width: inner, feed_forward_kernel: kernel } = config;
  const classes = config.num_vector_embeds - 1;
  const shape = {
    heads: config.num_attention_heads,
    headDim: config.attention_head_dim,
    fusedAttention: graphForm.fusedAttention,
    activations: graphForm.activations,
  };
  const tile = headsAtOnce(pixels, shape);
  const tokens = graph.input("tokens", "int64", ["images", pixels]);
  const timestep = graph.input("timestep", "int64", ["images"]);
  const image = graph.input("image", "int64", ["batch"]);
  const gather = (x: string, indices: string): string => graph.op("Gather", [x, indices], { axis: 0 });
  const classPart = config.conditioning === "class" ? buildClassInput(graph, layers, width) : undefined;
  const asked = graph.input("asked", "int64", ["batch", "asked"]);
  const modulations = buildModulation(graph, weights, config, {
    timestep,
    image,
    drawsOnDevice: false,
    norms: 1,
  });

  const imageForm = { ...graphForm, group: new RowGroup(graph, pixels) };
  const rowForm = { ...graphForm, group: new RowGroup(graph, pixels) };
  const around = kernel === 1 ? undefined : buildNeighbourhood(graph, config);
  const inputs = kernel ** 2;

  let x = embedLatentPixels(graph, weights, config, tokens);
  for (let i = 0; i < layers; i++) {
    const read = (name: string, from: number, to: number) =>
      readLinear(weights, `${block(i)}.${name}`, from, to);
    // The rows of an image differ from the first layer's second norm on.
    const [form, modulation] = i === 0 ? [imageForm, modulations.byImage] : [rowForm, modulations.byRow];

    const self = linearInput(graph, modulatedNorm(graph, x, width, modulation(i, 0)), width, form);
    const [toQuery, toKey, toValue] = selfProjections(read, width);
    const query = addBias(graph, product(graph, self, toQuery, form), toQuery.bias, form.activations);
    const [key, value] = [product(graph, self, toKey, form), product(graph, self, toValue, form)];
    const mixed = attention(graph, [query, key, value], { ...shape, tile });
    const selfOut = foldValueBias(read("attn1.to_out.0", width, width), toValue.bias, form);
    const attended = product(graph, linearInput(graph, mixed, width, form), selfOut, form);
    x = addBranch(graph, x, addBias(graph, attended, selfOut.bias, form.activations), form);
    if (i === 0) x = gather(x, image);

    const normed =
      classPart === undefined
        ? layerNorm(graph, x, weights, `${block(i)}.norm3`, width)
        : modulatedNorm(graph, x, width, [classPart(2 * i), classPart(2 * i + 1)]);
    const seen = around?.(normed, width) ?? normed;
    const up = linear(graph, seen, read("ff.net.0.proj", inputs * width, inner), rowForm);
    const hidden = quickGelu(graph, up, form.activations);
    const seenHidden = around?.(hidden, inner) ?? hidden;
    const mlpOut = read("ff.net.2", inputs * inner, width);
    const mlpInput = linearInput(graph, seenHidden, inputs * inner, rowForm, QUICK_GELU_LOWEST);
    x = addBranch(
      graph,
      x,
      addBias(graph, product(graph, mlpInput, mlpOut, rowForm), mlpOut.bias, form.activations),
      form,
    );
  }

  const askedForm = { ...graphForm, group: new RowGroup(graph, graph.op("Shape", [asked])) };
  const rows = gather(graph.op("Reshape", [x, graph.ints([-1, width])]), asked);
  const normed = layerNorm(graph, rows, weights, "norm_out", width);
  const logits = linear(graph, normed, readLinear(weights, "out", width, classes), askedForm);
  const wide = graphForm.activations === "float16" ? graph.cast(logits, "float32") : logits;
  const logProbs = graph.op("LogSoftmax", [wide], { axis: -1 });
  graph.output("log_probs", "float32", ["batch", "asked", classes], logProbs);
}

/** Part i of each row's class conditioning, [B, 1, D]. */
function buildClassInput(graph: GraphBuilder, layers: number, width: number): (i: number) => string {
  const cross = graph.input("cross", "float32", ["prompts", 2 * layers, 1, width]);
  const prompt = graph.input("prompt", "int64", ["batch"]);
  const rows = graph.op("Gather", [cross, prompt], { axis: 0 });
  const parts = graph.split(rows, new Array<number>(2 * layers).fill(1), 1);
  const flat = parts.map((part) => graph.op("Reshape", [part, graph.ints([-1, 1, width])]));
  return (i) => flat[i] ?? outOfBounds();
}

/** x [B, L, C] → the 3 x 3 neighbours of each pixel, row by row, [B, L, 9 x C]; beyond the edge, zeros. */
function buildNeighbourhood(
  graph: GraphBuilder,
  { sample_size: side, feed_forward_kernel: kernel }: TransformerConfig,
): (x: string, channels: number) => string {
  const reach = (kernel - 1) / 2;
  const pixels = side ** 2;
  const indices: number[] = [];
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const row = Math.floor(pixel / side) + dy;
        const column = (pixel % side) + dx;
        const isInside = row >= 0 && row < side && column >= 0 && column < side;
        // After the pixels comes one of zeros.
        indices.push(isInside ? row * side + column : pixels);
      }
    }
  }
  const places = graph.ints(indices);
  return (x, channels) => {
    const padded = graph.op("Pad", [x, graph.ints([0, 0, 0, 0, 1, 0])]);
    const gathered = graph.op("Gather", [padded, places], { axis: 1 });
    return graph.op("Reshape", [gathered, graph.ints([-1, pixels, kernel ** 2 * channels])]);
  };
}
