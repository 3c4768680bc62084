// Weights in several files, with an index that says which tensor is in which.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { CheckpointError } from "../errors.ts";
import { readJson } from "../json.ts";
import type { TensorEntry, TensorSource } from "./tensor.ts";

/** model.safetensors.index.json, diffusion_pytorch_model.bin.index.fp16.json */
export const INDEX_ENDING = /\.index(?:\.[A-Za-z0-9_-]+)?\.json$/;
const MAX_SHARDS = 1000;

const indexSchema = z.object({
  weight_map: z.record(
    z.string(),
    z.string().regex(/^[\w-][\w.-]*\.(?:safetensors|bin)$/, "not a file beside it"),
  ),
});

/** The files that an index names, each once. */
export function shardNames(path: string): string[] {
  const names = [...new Set(Object.values(readJson(path, indexSchema).weight_map))];
  if (names.length > MAX_SHARDS) {
    throw new CheckpointError(path, `names ${names.length} files, at most ${MAX_SHARDS} are read`);
  }
  return names;
}

export class ShardedFile implements TensorSource {
  readonly path: string;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly #shards: ReadonlyMap<string, TensorSource>;
  readonly #sourceOf: ReadonlyMap<string, TensorSource>;

  private constructor(
    path: string,
    shards: ReadonlyMap<string, TensorSource>,
    weightMap: Readonly<Record<string, string>>,
  ) {
    this.path = path;
    this.#shards = shards;
    const entries = new Map<string, TensorEntry>();
    const sourceOf = new Map<string, TensorSource>();
    for (const [name, file] of Object.entries(weightMap)) {
      const source = shards.get(file);
      const entry = source?.entries.get(name);
      if (source === undefined || entry === undefined) {
        throw new CheckpointError(
          join(dirname(path), file),
          `tensor ${name} is missing, the index says it is here`,
        );
      }
      entries.set(name, entry);
      sourceOf.set(name, source);
    }
    this.entries = entries;
    this.#sourceOf = sourceOf;
  }

  /** Opens all files of the index at `path` with `open`; throws a CheckpointError. */
  static open(path: string, open: (path: string) => TensorSource): ShardedFile {
    const { weight_map: weightMap } = readJson(path, indexSchema);
    const shards = new Map<string, TensorSource>();
    try {
      for (const name of shardNames(path)) {
        const shard = join(dirname(path), name);
        if (!existsSync(shard)) throw new CheckpointError(shard, "the file is missing, the index names it");
        shards.set(name, open(shard));
      }
      return new ShardedFile(path, shards, weightMap);
    } catch (error) {
      for (const shard of shards.values()) shard.close();
      throw error;
    }
  }

  get bytes(): number {
    return [...this.#shards.values()].reduce((sum, shard) => sum + shard.bytes, 0);
  }

  read(name: string): Float32Array<ArrayBuffer> {
    const source = this.#sourceOf.get(name);
    if (source === undefined) throw new CheckpointError(this.path, `tensor ${name} is missing`);
    return source.read(name);
  }

  close(): void {
    for (const shard of this.#shards.values()) shard.close();
  }
}
