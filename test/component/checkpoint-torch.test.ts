// Checkpoint folders with PyTorch weights, variants and shards: the same weights as with safetensors.

import { cp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { SafetensorsFile } from "../../gpu-worker/checkpoint/weights/safetensors.ts";
import { fromFloat32 } from "../../gpu-worker/checkpoint/weights/tensor.ts";
import { openWeights, pickWeights } from "../../gpu-worker/checkpoint/weights/weight-files.ts";
import { COMPONENTS } from "../../gpu-worker/checkpoint/weights/components.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";
import { torchFile, type TorchTensor } from "../support/torch-files.ts";

const SAFETENSORS = {
  text_encoder: "model.safetensors",
  transformer: "diffusion_pytorch_model.safetensors",
  vqvae: "diffusion_pytorch_model.safetensors",
  learned_classifier_free_sampling_embeddings: "diffusion_pytorch_model.safetensors",
};

let dir: string;
beforeEach(async () => {
  dir = join(await temporaryFolder(), "checkpoint");
  await cp(TINY_CHECKPOINT, dir, { recursive: true });
});

/** The tensors of a safetensors file as PyTorch's, with the position ids that old text encoders carry. */
function asTorch(path: string, dtype: "F32" | "F16"): Record<string, TorchTensor> {
  const file = SafetensorsFile.open(path);
  try {
    const tensors = [...file.entries.values()].map(({ name, shape }) => {
      const data = fromFloat32(file.read(name), dtype);
      return [name, { dtype, shape, data }] as const;
    });
    const positions = new Uint8Array(BigInt64Array.of(0n, 1n, 2n).buffer);
    const ids = { dtype: "I64", shape: [1, 3], data: positions } as const;
    return Object.fromEntries<TorchTensor>([...tensors, ["text_model.embeddings.position_ids", ids]]);
  } finally {
    file.close();
  }
}

/** Replaces the safetensors files by `.bin` files, with `infix` before the ending. */
async function toTorch(dtype: "F32" | "F16" = "F32", infix = ""): Promise<void> {
  for (const component of COMPONENTS) {
    const path = join(dir, component, SAFETENSORS[component]);
    const stem = component === "text_encoder" ? "pytorch_model" : "diffusion_pytorch_model";
    await writeFile(join(dir, component, `${stem}${infix}.bin`), torchFile(asTorch(path, dtype)));
    await rm(path);
  }
}

async function imageOf(model: string) {
  const pipeline = await VQDiffusionPipeline.fromPretrained(model, { cacheDir: await temporaryFolder() });
  try {
    const { latents, images } = await pipeline.call({ prompt: "red apple", seed: 7, numInferenceSteps: 6 });
    return { latents, images, parameters: pipeline.info.parameters };
  } finally {
    await pipeline.release();
  }
}

/** Every float of the folder, by component and name. */
function allWeights(checkpoint: DiffusersCheckpoint): Map<string, number[]> {
  const entries = COMPONENTS.flatMap((component) => {
    const source = openWeights(checkpoint.folder, checkpoint.weightsFile(component));
    try {
      return [...source.entries.values()]
        .filter(({ dtype }) => dtype !== "I64")
        .map(({ name }): [string, number[]] => [`${component} ${name}`, [...source.read(name)]]);
    } finally {
      source.close();
    }
  });
  return new Map(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

describe("a checkpoint of PyTorch files", () => {
  it("in fp32 gives the same weights and the same image as one of safetensors", async () => {
    await toTorch();
    const checkpoint = new DiffusersCheckpoint(dir);
    const original = new DiffusersCheckpoint(TINY_CHECKPOINT);
    expect(allWeights(checkpoint)).toEqual(allWeights(original));
    expect(checkpoint.parameters()).toBe(original.parameters());
    expect(checkpoint.version()).not.toBe(original.version());
    expect(await imageOf(dir)).toEqual(await imageOf(TINY_CHECKPOINT));
  });

  it("in fp16, if that is all there is, gives the weights rounded to it", async () => {
    await toTorch("F16", ".fp16");
    const rounded = allWeights(new DiffusersCheckpoint(TINY_CHECKPOINT));
    for (const values of rounded.values()) {
      for (const [i, value] of values.entries()) values[i] = Math.f16round(value);
    }
    expect(allWeights(new DiffusersCheckpoint(dir))).toEqual(rounded);
  });

  it("that runs code is refused with its file and what it refers to", async () => {
    const path = join(dir, "vqvae", "diffusion_pytorch_model.bin");
    await rename(join(dir, "vqvae", SAFETENSORS.vqvae), path);
    expect(() => new DiffusersCheckpoint(dir).weights("vqvae")).toThrow(
      /is a safetensors file with the wrong file name extension; rename it to \.safetensors/,
    );
    expect(() => new DiffusersCheckpoint(dir).weights("vqvae")).toThrow(path);
  });
});

describe("the choice among weight files", () => {
  const [st, bin] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
  const [st16, bin16] = ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.fp16.bin"];
  const shards = "diffusion_pytorch_model.safetensors.index.json";

  it.each<[string[], string | undefined, string | undefined]>([
    [[bin16, st16, bin, st], undefined, st],
    [[bin16, st16, bin], undefined, bin],
    [[bin16, bin, shards], undefined, shards],
    [[bin16, st16], undefined, st16],
    [[bin16, "config.json"], undefined, bin16],
    [[bin16, st16, bin, st], "fp16", st16],
    [[bin16, bin, st], "fp16", bin16],
    [[bin, st], "fp16", st],
    [[bin16, "diffusion_pytorch_model.non_ema.bin"], "ema", bin16],
    [
      ["pytorch_model.bin", "model.safetensors", "diffusion_pytorch_model-00001-of-2.bin"],
      undefined,
      undefined,
    ],
    [["diffusion_pytorch_model.fp16.bin.part", "diffusion_pytorch_model.a.b.bin"], undefined, undefined],
    [["toString", "__proto__"], undefined, undefined],
  ])("of %j, with variant %s, is %s", (names, variant, expected) => {
    expect(pickWeights(names, "vqvae", variant)).toBe(expected);
  });

  // Written by save_pretrained(max_shard_size="1MB", variant="fp16") of diffusers 0.42, and by older versions.
  const parts = (name: string): string[] => [1, 2].map((n) => name.replace("N", `0000${n}-of-00002`));
  it.each([
    [
      "diffusion_pytorch_model.safetensors.index.fp16.json",
      parts("diffusion_pytorch_model.fp16-N.safetensors"),
    ],
    [
      "diffusion_pytorch_model.safetensors.fp16.index.json",
      parts("diffusion_pytorch_model-N.fp16.safetensors"),
    ],
    [
      "diffusion_pytorch_model.fp16.safetensors.index.json",
      parts("diffusion_pytorch_model.fp16-N.safetensors"),
    ],
    ["diffusion_pytorch_model.bin.index.fp16.json", parts("diffusion_pytorch_model.fp16-N.bin")],
    ["diffusion_pytorch_model.bin.index.json", parts("diffusion_pytorch_model-N.bin")],
  ])("is the index %s, and never a shard", (index, names) => {
    for (const variant of [undefined, "fp16", "other"]) {
      expect(pickWeights([...names, "config.json", index], "vqvae", variant)).toBe(index);
      expect(pickWeights(names, "vqvae", variant)).toBeUndefined();
    }
    expect(pickWeights([...names, index, st], "vqvae", "fp16")).toBe(index.includes("fp16") ? index : st);
    expect(pickWeights([...names, index, st], "vqvae")).toBe(st);
  });

  it("has the names of transformers for the text encoder", () => {
    expect(pickWeights(["pytorch_model.bin", "model.safetensors"], "text_encoder")).toBe("model.safetensors");
    expect(pickWeights(["pytorch_model.bin"], "text_encoder")).toBe("pytorch_model.bin");
    expect(pickWeights(["pytorch_model.fp16.bin"], "text_encoder")).toBe("pytorch_model.fp16.bin");
    expect(pickWeights([bin, st], "text_encoder")).toBeUndefined();
  });

  it("is part of the version, and only if a variant is asked for", async () => {
    const plain = new DiffusersCheckpoint(TINY_CHECKPOINT).version();
    expect(plain).toBe("e99748d86917d0b8da470ac9fd475555c9656ead806098b73ba8b726eff30dcb");
    expect(new DiffusersCheckpoint(TINY_CHECKPOINT, { variant: "fp16" }).version()).not.toBe(plain);
  });
});

describe("weights in several files", () => {
  const INDEX = "diffusion_pytorch_model.safetensors.index.json";
  let weightMap: Record<string, string>;
  beforeEach(async () => {
    const path = join(dir, "vqvae", SAFETENSORS.vqvae);
    const tensors = Object.entries(asTorch(path, "F32"));
    const shards = { "part-1.bin": tensors.slice(0, 20), "part-2.bin": tensors.slice(20) };
    weightMap = {};
    for (const [file, part] of Object.entries(shards)) {
      await writeFile(join(dir, "vqvae", file), torchFile(Object.fromEntries(part)));
      for (const [name] of part) weightMap[name] = file;
    }
    await rm(path);
  });
  const writeIndex = (json: unknown): Promise<void> =>
    writeFile(join(dir, "vqvae", INDEX), JSON.stringify(json));

  it("are read through their index", async () => {
    await writeIndex({ metadata: {}, weight_map: weightMap });
    expect(allWeights(new DiffusersCheckpoint(dir))).toEqual(
      allWeights(new DiffusersCheckpoint(TINY_CHECKPOINT)),
    );
  });

  it("are refused if one is missing, lacks a tensor, or lies elsewhere", async () => {
    const open = () => new DiffusersCheckpoint(dir).weights("vqvae");
    await writeIndex({ weight_map: { ...weightMap, more: "part-1.bin" } });
    expect(open).toThrow(/part-1\.bin: tensor more is missing, although the index says that it is here/);
    await writeIndex({ weight_map: { ...weightMap, more: "part-3.bin" } });
    expect(open).toThrow(/part-3\.bin: the file is missing/);
    for (const file of ["../part-1.bin", "/etc/passwd", "a/b.bin", "config.json", INDEX, "..bin"]) {
      await writeIndex({ weight_map: { ...weightMap, more: file } });
      expect(open).toThrow(/index\.json: weight_map\.more: not a file beside it, found/);
      expect(open).toThrow(CheckpointError);
    }
    await writeIndex([]);
    expect(open).toThrow(/expected object/);
    expect(dirname(new DiffusersCheckpoint(dir).weightsFile("vqvae"))).toBe("vqvae");
    expect(await readFile(join(dir, "vqvae", INDEX), "utf8")).toBe("[]");
  });
});
