// A checkpoint's ONNX graphs on disk: built once, then found by the checkpoint's hash.

import { createHash } from "node:crypto";
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
import { formName, type GraphForm } from "./form.ts";
import { GraphBuilder } from "./onnx.ts";
import { buildCrossAttention, givenCrossAttention } from "./cross-attention.ts";
import { buildLabelledTransformer } from "./labelled/transformer.ts";
import { buildTextEncoder } from "./text-encoder.ts";
import { promptsInPass } from "./prompts.ts";
import { buildTransformer } from "./transformer.ts";
import { buildVQDecoder, buildVQEncoder } from "./vq-model.ts";

/** Incremented whenever the graphs or the sampler change: part of the cache key and of the numerics id. */
export const GRAPH_FORMAT = 5;

/** Those of every model, and those that a model with a text encoder has besides, depending on the form. */
const GRAPHS = ["transformer", "vq-decoder", "vq-encoder"] as const;
export type GraphName = (typeof GRAPHS)[number] | "text-encoder" | "cross-attention";

/** Lists the files of a complete folder; written last. */
const INVENTORY = "inventory.json";
/** Separates a folder's name from a random suffix while it is incomplete or about to be deleted. */
const TEMPORARY = ".tmp-";
/** No build takes this long: anything older was left behind by a process that died. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;
const PLACE_ATTEMPTS = 5;

export const graphPath = (dir: string, name: GraphName): string => join(dir, `${name}.onnx`);

/** Size of a graph including its weights, in bytes. */
export function graphBytes(dir: string, name: GraphName): number {
  const files = readdirSync(dir).filter((file) => file.startsWith(`${name}.`));
  return files.reduce((sum, file) => sum + statSync(join(dir, file)).size, 0);
}

export interface GraphOptions {
  readonly cacheDir: string;
  readonly form: GraphForm;
}

/**
 * The folder with the graphs of `checkpoint`, built under `cacheDir` if it is missing or damaged. Several processes may
 * do this at the same time: each builds in a folder of its own, and the first to finish renames it into place.
 */
export function ensureGraphs(
  checkpoint: DiffusersCheckpoint,
  version: string,
  { cacheDir, form }: GraphOptions,
): string {
  const parent = join(cacheDir, "graphs");
  const dir = join(parent, `${version.slice(0, 24)}-${formName(form)}-${GRAPH_FORMAT}`);
  if (isComplete(dir)) return dir;
  mkdirSync(parent, { recursive: true });
  removeAbandoned(parent);
  const building = mkdtempSync(`${dir}${TEMPORARY}`);
  try {
    buildGraphs(checkpoint, building, form);
    putInPlace(building, dir);
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
  return dir;
}

/** Renames `building` to `dir`, unless another process has put a complete folder there in the meantime. */
function putInPlace(building: string, dir: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      renameSync(building, dir);
      return;
    } catch (error) {
      // A folder can be renamed over an empty one only, so something is there.
      if (isComplete(dir)) return;
      if (attempt === PLACE_ATTEMPTS) throw error;
    }
    moveAside(dir);
  }
}

/** Moves a damaged folder away atomically: while it was deleted file by file, another process could see it half gone. */
function moveAside(dir: string): void {
  const aside = mkdtempSync(`${dir}${TEMPORARY}`);
  try {
    renameSync(dir, join(aside, "damaged"));
  } catch (error) {
    // Another process was faster.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function removeAbandoned(parent: string): void {
  for (const entry of readdirSync(parent)) {
    const path = join(parent, entry);
    const modifiedAt = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity;
    if (entry.includes(TEMPORARY) && modifiedAt < Date.now() - ABANDONED_MS) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

/**
 * What the inventory records of a file. Weights are compared by size only: they can be gigabytes, and as they reach the
 * disk before the inventory does, a crash cannot leave holes in them. Graphs are small enough to be hashed.
 */
function fingerprint(path: string): string {
  const { size } = statSync(path);
  if (!path.endsWith(".onnx")) return `${size}`;
  return `${size} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
}

function isComplete(dir: string): boolean {
  const inventory = join(dir, INVENTORY);
  if (!existsSync(inventory)) return false;
  try {
    const files = JSON.parse(readFileSync(inventory, "utf8")) as Record<string, string>;
    return (
      GRAPHS.every((name) => Object.hasOwn(files, `${name}.onnx`)) &&
      Object.entries(files).every(([file, expected]) => fingerprint(join(dir, file)) === expected)
    );
  } catch {
    return false;
  }
}

/** Builds all graphs of `checkpoint` in the folder `dir`, layer by layer, so that the weights are never all in memory. */
function buildGraphs(checkpoint: DiffusersCheckpoint, dir: string, form: GraphForm): void {
  const { prompts, transformer, vqvae } = checkpoint;
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
  if (prompts.kind === "text") {
    const { textEncoder, tokenizer } = prompts;
    const textLength = tokenizer.maxLength;
    const { drawsOnDevice } = form;
    build("text-encoder", "text_encoder", (graph, weights) =>
      buildTextEncoder(graph, weights, textEncoder, { ...form, length: textLength }),
    );
    if (!drawsOnDevice) {
      build("cross-attention", "transformer", (graph, weights) =>
        buildCrossAttention(graph, weights, transformer, textLength),
      );
    }
    build("transformer", "transformer", (graph, weights) => {
      const crossAttention = drawsOnDevice
        ? promptsInPass(graph, weights, checkpoint, form)
        : givenCrossAttention(graph, transformer, { ...form, textLength });
      buildTransformer(graph, weights, transformer, { ...form, crossAttention });
    });
  } else {
    build("transformer", "transformer", (graph, weights) =>
      buildLabelledTransformer(graph, weights, transformer, form),
    );
  }
  build("vq-decoder", "vqvae", (graph, weights) => buildVQDecoder(graph, weights, vqvae));
  build("vq-encoder", "vqvae", (graph, weights) => buildVQEncoder(graph, weights, vqvae));

  const files = Object.fromEntries(readdirSync(dir).map((file) => [file, fingerprint(join(dir, file))]));
  writeFileSync(join(dir, INVENTORY), JSON.stringify(files), { flush: true });
}
