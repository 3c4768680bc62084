// What a graph would be that nobody has tuned: fp32, one operator per layer as an exporter writes it, no caches.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { TransformerConfig } from "../../gpu-worker/checkpoint/config.ts";
import { DiffusersCheckpoint, type Weights } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { attention, layerNorm, matMul, quickGelu, silu } from "../../gpu-worker/graph/layers.ts";
import { readLinear } from "../../gpu-worker/graph/linear-weights.ts";
import { GraphBuilder } from "../../gpu-worker/graph/onnx.ts";
import { transformerWidth } from "../../gpu-worker/graph/cross-attention.ts";
import type { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { guidedProbabilities } from "../../gpu-worker/pipeline/sampling/guidance.ts";
import { StepNoise } from "../../gpu-worker/pipeline/sampling/random.ts";
import { jumpAt } from "../../gpu-worker/pipeline/sampling/schedule.ts";
import { clampProbabilities } from "../../gpu-worker/pipeline/sampling/pixel-view.ts";
import { floatData, floatTensor, intTensor, Session } from "../../gpu-worker/runtime/session.ts";
import { GUIDANCE_SCALE } from "./step-case.ts";

/**
 * The transformer as torch's exporter would write diffusers' module: separate projections, the text's keys and values
 * and AdaLayerNorm's scale and shift computed in every step, attention as products and a softmax. Inputs `tokens`
 * [B, L], `timestep` [B] and `embeddings` [B, S, E]; output `log_probs` [B, L, K].
 */
function buildPlain(
  graph: GraphBuilder,
  weights: Weights,
  config: TransformerConfig,
  textLength: number,
): void {
  const width = transformerWidth(config);
  const pixels = config.sample_size ** 2;
  const { num_attention_heads: heads, attention_head_dim: headDim, cross_attention_dim: textWidth } = config;
  const tokens = graph.input("tokens", "int64", ["batch", pixels]);
  const timestep = graph.input("timestep", "int64", ["batch"]);
  const embeddings = graph.input("embeddings", "float32", ["batch", textLength, textWidth]);
  const linear = (x: string, prefix: string, inputs: number, outputs: number): string =>
    matMul(graph, x, readLinear(weights, prefix, inputs, outputs));
  const table = (name: string, rows: number): string =>
    graph.constant(weights.tensor(name, [rows, width]), [rows, width]);
  const gather = (rows: string, indices: string): string => graph.op("Gather", [rows, indices], { axis: 0 });

  const sides = Array.from({ length: pixels }, (_, pixel) => pixel);
  const side = config.sample_size;
  const rowOf = graph.ints(sides.map((pixel) => Math.floor(pixel / side)));
  const columnOf = graph.ints(sides.map((pixel) => pixel % side));
  const prefix = "latent_image_embedding";
  const places = graph.op("Add", [
    gather(table(`${prefix}.height_emb.weight`, side), rowOf),
    gather(table(`${prefix}.width_emb.weight`, side), columnOf),
  ]);
  const classes = config.num_vector_embeds;
  let x = graph.op("Add", [gather(table(`${prefix}.emb.weight`, classes), tokens), places]);

  const ones = graph.constant(new Float32Array(width).fill(1), [width]);
  const adaptive = (input: string, norm: string): string => {
    const embedded = gather(table(`${norm}.emb.weight`, config.num_embeds_ada_norm), timestep);
    const both = linear(silu(graph, embedded), `${norm}.linear`, width, 2 * width);
    const unsqueezed = graph.op("Unsqueeze", [both, graph.ints([1])]);
    const [scale = "", shift = ""] = graph.split(unsqueezed, [width, width], 2);
    const normed = graph.op("LayerNormalization", [input, ones], { axis: -1, epsilon: { float: 1e-5 } });
    const scaled = graph.op("Mul", [normed, graph.op("Add", [scale, graph.scalar(1)])]);
    return graph.op("Add", [scaled, shift]);
  };
  for (let i = 0; i < config.num_layers; i++) {
    const block = `transformer_blocks.${i}`;
    for (const [index, from] of [
      [1, width],
      [2, textWidth],
    ] as const) {
      const input = adaptive(x, `${block}.norm${index}`);
      const source = index === 1 ? input : embeddings;
      const name = `${block}.attn${index}`;
      const query = linear(input, `${name}.to_q`, width, width);
      const key = linear(source, `${name}.to_k`, from, width);
      const value = linear(source, `${name}.to_v`, from, width);
      const mixed = attention(graph, [query, key, value], { heads, headDim });
      x = graph.op("Add", [linear(mixed, `${name}.to_out.0`, width, width), x]);
    }
    const input = layerNorm(graph, x, weights, `${block}.norm3`, width);
    const hidden = quickGelu(graph, linear(input, `${block}.ff.net.0.proj`, width, 4 * width));
    x = graph.op("Add", [linear(hidden, `${block}.ff.net.2`, 4 * width, width), x]);
  }
  const logits = linear(layerNorm(graph, x, weights, "norm_out", width), "out", width, classes - 1);
  const logProbs = graph.op("LogSoftmax", [logits], { axis: -1 });
  graph.output("log_probs", "float32", ["batch", pixels, classes - 1], logProbs);
}

/** The plain graph of a checkpoint, with the sampler as the reference writes it: every class of every pixel. */
export class PlainModel {
  readonly #checkpoint: DiffusersCheckpoint;
  readonly #session: Session;

  private constructor(checkpoint: DiffusersCheckpoint, session: Session) {
    this.#checkpoint = checkpoint;
    this.#session = session;
  }

  static async load(model: string, cacheDir: string, threads: number): Promise<PlainModel> {
    const checkpoint = new DiffusersCheckpoint(model);
    mkdirSync(cacheDir, { recursive: true });
    const path = join(cacheDir, "plain.onnx");
    const graph = new GraphBuilder("plain", path);
    const weights = checkpoint.weights("transformer");
    buildPlain(graph, weights, checkpoint.transformer, checkpoint.tokenizer.maxLength);
    graph.finish();
    weights.close();
    return new PlainModel(checkpoint, await Session.create(path, { provider: "cpu", threads }));
  }

  /** Latent pixels of an image. */
  get pixels(): number {
    return this.#checkpoint.transformer.sample_size ** 2;
  }

  /** Numbers in a prompt's embeddings, [S, E]. */
  get textSize(): number {
    return this.#checkpoint.tokenizer.maxLength * this.#checkpoint.transformer.cross_attention_dim;
  }

  /** log p(x_0) of `tokens` [B, L], one row for each of `embeddings` [S, E]. */
  async predict(
    tokens: readonly Uint16Array[],
    t: number,
    embeddings: readonly Float32Array[],
  ): Promise<Float32Array> {
    const { transformer, tokenizer } = this.#checkpoint;
    const size = this.textSize;
    const text = new Float32Array(embeddings.length * size);
    for (const [row, values] of embeddings.entries()) text.set(values, row * size);
    const feeds = {
      tokens: intTensor(
        tokens.flatMap((row) => [...row]),
        [tokens.length, this.pixels],
      ),
      timestep: intTensor(new Array<number>(tokens.length).fill(t), [tokens.length]),
      embeddings: floatTensor(text, [tokens.length, tokenizer.maxLength, transformer.cross_attention_dim]),
    };
    return floatData(await this.#session.run(feeds, "log_probs"));
  }

  /** Guided steps `from` to `to` of `images` at once, in place. */
  async denoise(
    pipeline: VQDiffusionPipeline,
    images: readonly Uint16Array[],
    [negative, prompt]: readonly [Float32Array, Float32Array],
    [from, to]: readonly [number, number],
  ): Promise<void> {
    const classes = pipeline.info.numEmbeddings;
    const timesteps = pipeline.scheduler.timesteps(pipeline.info.numTrainTimesteps);
    const pixels = images[0]?.length ?? 0;
    const probabilities = new Float64Array(classes);
    for (let step = from; step < to; step++) {
      const jump = jumpAt(timesteps, step);
      if (jump === undefined) return;
      const rows = images.flatMap((tokens) => [tokens, tokens]);
      const logProbs = await this.predict(
        rows,
        jump.t,
        images.flatMap(() => [negative, prompt]),
      );
      for (const [image, tokens] of images.entries()) {
        const noise = new StepNoise(7, image, jump.t);
        for (let position = 0; position < pixels; position++) {
          const row = (index: number) => ({
            logProbs,
            offset: ((2 * image + index) * pixels + position) * classes,
          });
          guidedProbabilities(probabilities, row(1), row(0), GUIDANCE_SCALE);
          clampProbabilities(probabilities);
          tokens[position] = pipeline.scheduler.samplePixel(
            probabilities,
            tokens[position] ?? 0,
            jump,
            position,
            noise,
          );
        }
      }
    }
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}
