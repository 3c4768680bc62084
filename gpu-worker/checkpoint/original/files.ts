// The files of the original code base: a training checkpoint, a VQ model's, CLIP's, and the maps of codes.

import { dirname, isAbsolute, join, normalize, sep } from "node:path";
import { existsSync } from "node:fs";
import { MAX_VECTOR_EMBEDS } from "@vqd/shared/limits.ts";
import { CheckpointError } from "../errors.ts";
import { type PickleDict, PickleTensor, type PickleValue } from "../torch/pickle-values.ts";
import { scriptedStateDict, TorchFile } from "../torch/torch-file.ts";
import type { TensorEntry } from "../weights/tensor.ts";

/** Folders above a config that are tried for the files that it names. */
const MAX_PARENTS = 4;

/** The dict at `key`; undefined if there is none. */
function part(value: PickleValue, key: string): PickleDict | undefined {
  const found = value instanceof Map ? value.get(key) : undefined;
  return found instanceof Map ? found : undefined;
}

/** Tensors by the original's names, from several places: the first that has one is read. */
export class Tensors {
  readonly #places: readonly { readonly file: TorchFile; readonly prefix: string }[];
  readonly path: string;

  constructor(path: string, places: readonly { readonly file: TorchFile; readonly prefix: string }[]) {
    this.path = path;
    this.#places = places;
  }

  entry(name: string): TensorEntry | undefined {
    return this.#find(name)?.entry;
  }

  /** Names, of any place, that begin with `start`; without the place's prefix. */
  names(start: string): string[] {
    const all = this.#places.flatMap(({ file, prefix }) =>
      [...file.entries.keys()]
        .filter((name) => name.startsWith(prefix + start))
        .map((name) => name.slice(prefix.length)),
    );
    return [...new Set(all)];
  }

  /** Number of `start0.`, `start1.`, ... */
  countOf(start: string): number {
    const indices = this.names(start).map((name) => Number.parseInt(name.slice(start.length), 10));
    return indices.reduce((most, index) => (index + 1 > most ? index + 1 : most), 0);
  }

  /** The shape of a tensor. Throws a CheckpointError if it is missing or does not have `axes` axes. */
  shape(name: string, axes: number): readonly number[] {
    const shape = this.entry(name)?.shape;
    if (shape === undefined) throw new CheckpointError(this.path, `tensor ${name} is missing`);
    if (shape.length !== axes) {
      throw new CheckpointError(
        this.path,
        `tensor ${name} has shape [${shape.join(", ")}], expected ${axes} axes`,
      );
    }
    return shape;
  }

  read(name: string): Float32Array<ArrayBuffer> {
    const found = this.#find(name);
    if (found === undefined) throw new CheckpointError(this.path, `tensor ${name} is missing`);
    return found.file.read(found.entry.name);
  }

  #find(name: string): { file: TorchFile; entry: TensorEntry } | undefined {
    for (const { file, prefix } of this.#places) {
      const entry = file.entries.get(prefix + name);
      if (entry !== undefined) return { file, entry };
    }
    return undefined;
  }
}

/** The files that are open, to be closed together. */
export class OpenFiles {
  readonly #files: TorchFile[] = [];

  /**
   * A training checkpoint: the diffusion transformer's tensors, the averaged ones (`ema`) first, and the VQ model's.
   * Optimizer states are not read. Throws a CheckpointError.
   */
  model(path: string): { diffusion: Tensors; vq: Tensors | undefined; isAveraged: boolean } {
    const model = this.#open(path, (value) => part(value, "model"));
    if (model === undefined) {
      throw new CheckpointError(
        path,
        "holds no dict called model, as training checkpoints of the original do",
        {
          remedy: "give the .pth file that belongs to the config",
        },
      );
    }
    const ema = this.#open(path, (value) => part(value, "ema"));
    const diffusion = [
      ...(ema === undefined ? [] : [{ file: ema, prefix: "" }]),
      { file: model, prefix: "transformer." },
    ];
    const has = [...model.entries.keys()].some((name) => name.startsWith("content_codec."));
    const sides = ["enc", "dec"].map((side) => ({ file: model, prefix: `content_codec.${side}.` }));
    return {
      diffusion: new Tensors(path, diffusion),
      vq: has ? new Tensors(path, sides) : undefined,
      isAveraged: ema !== undefined,
    };
  }

  /** A VQ model's own file: taming-transformers' `state_dict`, or the original's `model`. Throws a CheckpointError. */
  vqModel(path: string): Tensors {
    const file = this.#open(
      path,
      (value) => part(value, "state_dict") ?? part(value, "model") ?? rootDict(value, path),
    );
    if (file === undefined) throw new CheckpointError(path, "holds no dict of tensors");
    const isNested = [...file.entries.keys()].some((name) => name.startsWith("first_stage_model."));
    return new Tensors(path, [{ file, prefix: isNested ? "first_stage_model." : "" }]);
  }

  /** CLIP as OpenAI publishes it (a TorchScript archive), or its state dict. Throws a CheckpointError. */
  clip(path: string): Tensors {
    const file = this.#open(path, (value) => scriptedStateDict(value, path));
    if (file === undefined) throw new CheckpointError(path, "holds no dict of tensors");
    return new Tensors(path, [{ file, prefix: "" }]);
  }

  close(): void {
    for (const file of this.#files) file.close();
  }

  #open(path: string, pick: (value: PickleValue) => PickleDict | undefined): TorchFile | undefined {
    let isThere = true;
    const file = TorchFile.openPart(path, (value) => {
      const picked = pick(value);
      isThere = picked !== undefined;
      return picked ?? new Map();
    });
    if (!isThere) {
      file.close();
      return undefined;
    }
    this.#files.push(file);
    return file;
  }
}

const rootDict = (value: PickleValue, path: string): PickleDict => scriptedStateDict(value, path);

/**
 * The content token of each entry of the codebook, from the original's table: a tensor of 64-bit integers. Throws a
 * CheckpointError unless it gives each of `codes` tokens an entry.
 */
export function readCodeMap(path: string, codes: number): number[] {
  const file = TorchFile.openPart(path, (value) => {
    if (value instanceof PickleTensor) return new Map([["map", value]]);
    throw new CheckpointError(path, "holds no single tensor, which a map of codes is");
  });
  try {
    const [size = 0] = file.entries.get("map")?.shape ?? [];
    if (size >= MAX_VECTOR_EMBEDS)
      throw new CheckpointError(path, `maps ${size} codes; the limit is ${MAX_VECTOR_EMBEDS - 1}`);
    const map = file.readIntegers("map");
    const wrong = map.find((token) => !(token >= 0 && token < codes));
    if (wrong !== undefined) {
      throw new CheckpointError(path, `maps a code to ${wrong}, but the model has tokens 0 to ${codes - 1}`);
    }
    const missing = codes - new Set(map).size;
    if (missing > 0)
      throw new CheckpointError(path, `gives no code to ${missing} of the model's ${codes} tokens`);
    return map;
  } finally {
    file.close();
  }
}

/**
 * The file that a config names, relative to the folder that the original is run in: one of those above the config.
 * Undefined if it is in none of them, or if the name leads elsewhere.
 */
export function besideConfig(config: string, named: string | undefined): string | undefined {
  if (named === undefined || isAbsolute(named)) return undefined;
  const name = normalize(named);
  if (name === ".." || name.startsWith(`..${sep}`)) return undefined;
  let folder = dirname(config);
  for (let i = 0; i <= MAX_PARENTS; i++) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    folder = dirname(folder);
  }
  return undefined;
}
