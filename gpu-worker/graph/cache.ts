// The graphs of a checkpoint on disk: built once, found again by the checkpoint's hash.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Component, DiffusersCheckpoint, Weights } from "../checkpoint/diffusers-layout.ts";
import { GraphBuilder } from "./onnx.ts";
import type { Quantization } from "./quantize.ts";
import { buildTextEncoder } from "./text-encoder.ts";
import { buildCrossAttention, buildTransformer } from "./transformer.ts";
import { buildVQDecoder, buildVQEncoder } from "./vq-model.ts";

/** Raised whenever the graphs change: part of the cache's key and of the numerics id. */
export const GRAPH_FORMAT = 2;

const GRAPHS = ["text-encoder", "cross-attention", "transformer", "vq-decoder", "vq-encoder"] as const;
export type GraphName = (typeof GRAPHS)[number];

/** Lists the files of a complete folder with their sizes; written last. */
const INVENTORY = "inventory.json";

export const graphPath = (dir: string, name: GraphName): string => join(dir, `${name}.onnx`);

export interface GraphOptions {
  readonly cacheDir: string;
  readonly quantization: Quantization;
}

/**
 * The folder with the graphs of `checkpoint`, built under `cacheDir` if it is not there or is damaged. Two
 * processes may do this at once: each builds in a folder of its own, and the first to finish gives its name.
 */
export function ensureGraphs(
  checkpoint: DiffusersCheckpoint,
  version: string,
  { cacheDir, quantization }: GraphOptions,
): string {
  const dir = join(cacheDir, "graphs", `${version.slice(0, 24)}-${quantization}-${GRAPH_FORMAT}`);
  if (isComplete(dir)) return dir;
  mkdirSync(join(cacheDir, "graphs"), { recursive: true });
  const building = mkdtempSync(`${dir}.building-`);
  try {
    buildGraphs(checkpoint, building, quantization);
    if (!isComplete(dir)) {
      rmSync(dir, { recursive: true, force: true });
      renameSync(building, dir);
    }
  } catch (error) {
    if (!isComplete(dir)) throw error;
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
  return dir;
}

function isComplete(dir: string): boolean {
  const inventory = join(dir, INVENTORY);
  if (!existsSync(inventory)) return false;
  try {
    const sizes = JSON.parse(readFileSync(inventory, "utf8")) as Record<string, number>;
    return Object.entries(sizes).every(([file, size]) => statSync(join(dir, file)).size === size);
  } catch {
    return false;
  }
}

/** Builds all graphs of `checkpoint` in the folder `dir`, layer by layer: the weights are never all in memory. */
export function buildGraphs(checkpoint: DiffusersCheckpoint, dir: string, quantization: Quantization): void {
  const { textEncoder, transformer, vqvae, tokenizer } = checkpoint;
  const build = (
    name: GraphName,
    component: Component,
    fill: (graph: GraphBuilder, weights: Weights) => void,
  ): void => {
    const weights = checkpoint.weights(component);
    const graph = new GraphBuilder(name, graphPath(dir, name));
    try {
      fill(graph, weights);
      graph.finish();
    } catch (error) {
      graph.abandon();
      throw error;
    } finally {
      weights.close();
    }
  };
  const length = tokenizer.maxLength;
  build("text-encoder", "text_encoder", (graph, weights) =>
    buildTextEncoder(graph, weights, textEncoder, { length, quantization }),
  );
  build("cross-attention", "transformer", (graph, weights) =>
    buildCrossAttention(graph, weights, transformer, length),
  );
  build("transformer", "transformer", (graph, weights) =>
    buildTransformer(graph, weights, transformer, { textLength: length, quantization }),
  );
  build("vq-decoder", "vqvae", (graph, weights) => buildVQDecoder(graph, weights, vqvae));
  build("vq-encoder", "vqvae", (graph, weights) => buildVQEncoder(graph, weights, vqvae));

  const sizes = Object.fromEntries(readdirSync(dir).map((file) => [file, statSync(join(dir, file)).size]));
  writeFileSync(join(dir, INVENTORY), JSON.stringify(sizes));
}
