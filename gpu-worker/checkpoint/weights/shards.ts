// Weights in several files, with an index that says which tensor is in which.

import { dirname, join } from "node:path";
import { z } from "zod";
import { CheckpointError, FETCH_AGAIN } from "../errors.ts";
import { readJson } from "../files/json.ts";
import type { TensorEntry, TensorSource } from "./tensor.ts";

/** model.safetensors.index.json, diffusion_pytorch_model.bin.index.fp16.json */
export const INDEX_ENDING = /\.index(?:\.[\w-]+)?\.json$/;
const MAX_INDEX_BYTES = 16 * 1024 * 1024;
const MAX_SHARDS = 1000;

const indexSchema = z.object({
  weight_map: z.record(
    z.string(),
    z.string().regex(/^[\w-][\w.-]*\.(?:safetensors|bin)$/, "not a file beside it"),
  ),
});

/** The files that an index names, each once. */
export function shardNames(path: string): string[] {
  const names = [...new Set(Object.values(readIndex(path)))];
  if (names.length > MAX_SHARDS) {
    throw new CheckpointError(path, `names ${names.length} files; the limit is ${MAX_SHARDS}`, {
      remedy: "save the model in larger shards",
    });
  }
  return names;
}

function readIndex(path: string): Readonly<Record<string, string>> {
  const { weight_map: weightMap } = readJson(path, indexSchema, MAX_INDEX_BYTES);
  if (Object.keys(weightMap).length === 0) {
    throw new CheckpointError(path, "names no tensors", { remedy: FETCH_AGAIN });
  }
  return weightMap;
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
          `tensor ${name} is missing, although the index says that it is here`,
          { remedy: "fetch the shards and the index again, all of the same version" },
        );
      }
      entries.set(name, entry);
      sourceOf.set(name, source);
    }
    this.entries = entries;
    this.#sourceOf = sourceOf;
  }

  /** Opens all files listed in the index at `path` by calling `open` with their names. Throws a CheckpointError. */
  static open(path: string, open: (name: string) => TensorSource): ShardedFile {
    const weightMap = readIndex(path);
    const shards = new Map<string, TensorSource>();
    try {
      for (const name of shardNames(path)) {
        shards.set(name, open(name));
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
