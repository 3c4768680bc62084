// vqd inspect, convert, encode and worker as users run them.

import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import type { Inspection } from "../../gpu-worker/checkpoint/inspect.ts";
import { SafetensorsFile } from "../../gpu-worker/checkpoint/weights/safetensors.ts";
import { COMPONENTS } from "../../gpu-worker/checkpoint/weights/components.ts";
import { vqd } from "../support/cli.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";
import { torchFile } from "../support/torch-files.ts";

let folder: string;
let dir: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  dir = join(folder, "checkpoint");
  await cp(TINY_CHECKPOINT, dir, { recursive: true });
});

async function edit(file: string, change: Record<string, unknown>): Promise<void> {
  const path = join(dir, file);
  const json = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...json, ...change }));
}

describe("vqd", () => {
  it.each(["inspect", "convert", "encode", "pull", "worker"])("%s says how it is used", async (command) => {
    const { code, stdout, stderr } = await vqd(command, "--help");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(new RegExp(`^Usage: vqd ${command}.*--help`, "s"));
  });

  it.each<[number, RegExp, string[]]>([
    [2, /DIR is missing: vqd inspect DIR/, ["inspect"]],
    [2, /unexpected argument "b"/, ["inspect", "a", "b"]],
    [1, /\/no\/such: no such folder/, ["inspect", "/no/such"]],
    [2, /DST is missing: vqd convert SRC DST/, ["convert", "a"]],
    [2, /--dtype must be one of fp32, fp16, bf16, not "int4"/, ["convert", "a", "b", "--dtype", "int4"]],
    [1, /\/no\/such: no such folder/, ["convert", "/no/such", "/no/such/either"]],
    [
      1,
      /holds the checkpoint that is to be converted/,
      ["convert", TINY_CHECKPOINT, TINY_CHECKPOINT, "--force"],
    ],
    [
      1,
      /holds the checkpoint that is to be converted/,
      ["convert", TINY_CHECKPOINT, join(TINY_CHECKPOINT, ".."), "--force"],
    ],
    [2, /IMAGE is missing/, ["encode"]],
    [2, /\/no\/such\.png: no such file/, ["encode", "/no/such.png"]],
    [2, /--out ends in "\.gif"/, ["encode", TINY_CHECKPOINT, "--out", "a.gif"]],
    [2, /unexpected argument "now"/, ["worker", "now"]],
    [2, /REPO must be owner\/name, not "name"/, ["pull", "name"]],
    [2, /REPO must be owner\/name/, ["pull", "../name"]],
    [2, /--variant must be a name/, ["pull", "a/b", "--variant", "../x"]],
    [2, /--endpoint must be an http\(s\) URL/, ["pull", "a/b", "--endpoint", "file:///etc"]],
  ])("exits with %d and one line %j for %j", async (code, message, args) => {
    const result = await vqd(...args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^vqd: [^\n]+\n$/);
  });
});

describe("vqd inspect", () => {
  it("says what a checkpoint holds", async () => {
    const { code, stdout, stderr } = await vqd("inspect", dir);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("image       16 x 16 pixels from 8 x 8 codes\n");
    expect(stdout).toContain("\ncodes       128\ntimesteps   100\nlayers      2\n");
    expect(stdout).toMatch(
      /\nvqvae\/diffusion_pytorch_model\.safetensors: 155 tensors, 722,707 parameters, F32, /,
    );
    expect(stdout).toMatch(/no problems\n$/);
    expect(stdout).not.toMatch(/unused/);
  });

  it("lists everything that is wrong, as text and as JSON", async () => {
    await edit("model_index.json", { _class_name: "StableDiffusionPipeline" });
    await edit("transformer/config.json", { num_layers: 3, num_vector_embeds: 99 });
    await edit("vqvae/config.json", { layers_per_block: 0 });
    await rm(join(dir, "text_encoder", "model.safetensors"));
    await rm(join(dir, "tokenizer", "merges.txt"));
    await writeFile(join(dir, "scheduler", "scheduler_config.json"), "{");
    const { code, stdout, stderr } = await vqd("inspect", dir, "--json");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^vqd: \S+: \d+ problems\n$/);
    const { problems } = JSON.parse(stdout) as Inspection;
    const expected = [
      /model_index\.json: _class_name: .*expected one of "VQDiffusionPipeline"\|.*, found "StableDiffusionPipeline"/,
      /vqvae\/config\.json: layers_per_block: .*found 0/,
      /scheduler_config\.json: not a JSON file/,
      /merges\.txt: the file is missing/,
      /text_encoder\/model\.safetensors: the weights are missing/,
      /tensor transformer_blocks\.2\.norm1\.emb\.weight is missing/,
      /tensor out\.weight has shape \[128, \d+\], the config implies \[98, \d+\]/,
    ];
    for (const pattern of expected) expect(problems).toContainEqual(expect.stringMatching(pattern));
    const text = (await vqd("inspect", dir)).stdout;
    for (const problem of problems) expect(text).toContain(`${problem}\n`);
    expect(text).toContain("pixels from 8 x 8 codes");
  });

  it("lists tensors, and names those that are of no use", async () => {
    const positions = new Uint8Array(BigInt64Array.of(1n).buffer);
    const file = join(dir, "learned_classifier_free_sampling_embeddings", "diffusion_pytorch_model");
    const source = SafetensorsFile.open(`${file}.safetensors`);
    const { shape = [] } = source.entries.get("embeddings") ?? {};
    const data = new Uint8Array(source.read("embeddings").buffer);
    source.close();
    await rm(`${file}.safetensors`);
    const tensors = {
      embeddings: { dtype: "F32", shape, data },
      position_ids: { dtype: "I64", shape: [1], data: positions },
    } as const;
    await writeFile(`${file}.bin`, torchFile(tensors));
    const { code, stdout } = await vqd("inspect", dir, "--tensors");
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /diffusion_pytorch_model\.bin: 2 tensors, 1,848 parameters, F32, .*\n {2}unused: position_ids\n/,
    );
    // One of two layers, which has a tensor for each of some thirty names.
    await edit("transformer/config.json", { num_layers: 1 });
    expect((await vqd("inspect", dir)).stdout).toMatch(
      /\n {2}unused: (transformer_blocks\.1\.\S+,? ){8}and \d\d more\n/,
    );
    expect(stdout).toContain("  embeddings F32 [77, 24]\n  position_ids I64 [1]\n");
    expect(stdout).toContain("  quantize.embedding.weight F32 [128, ");
  });
});

describe("vqd convert", () => {
  const read = (root: string): Map<string, Float32Array> => {
    const checkpoint = new DiffusersCheckpoint(root);
    const entries = COMPONENTS.flatMap((component) => {
      const file = SafetensorsFile.open(join(checkpoint.dir, checkpoint.weightsFile(component)));
      try {
        return [...file.entries.keys()].map((name) => [`${component} ${name}`, file.read(name)] as const);
      } finally {
        file.close();
      }
    });
    return new Map(entries);
  };

  it("writes the same weights in fp32, and a checkpoint that has nothing missing", async () => {
    const out = join(folder, "new", "copy");
    const { code, stdout, stderr } = await vqd("convert", dir, out);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${out}\n` });
    expect(stderr).toMatch(/^converting ([\d.]+)\/\1 .*M parameters\/s$/m);
    expect(read(out)).toEqual(read(dir));
    expect((await vqd("inspect", out)).code).toBe(0);
    expect(await readdir(join(folder, "new"))).toEqual(["copy"]);
  });

  it.each<[string, (value: number) => number, number]>([
    ["fp16", Math.f16round, 2],
    ["bf16", (value) => value, 2],
  ])("writes %s in half the size, rounded to nearest", async (dtype, round, bytes) => {
    const out = join(folder, "copy");
    expect((await vqd("convert", dir, out, "--dtype", dtype)).code).toBe(0);
    const converted = read(out);
    for (const [name, values] of read(dir)) {
      const found = converted.get(name) ?? new Float32Array();
      expect(found.length).toBe(values.length);
      const tolerance = dtype === "fp16" ? 0 : 2 ** -8;
      const wrong = values.findIndex((value, i) => {
        const difference = Math.abs(round(value) - (found[i] ?? Number.NaN));
        return !(difference <= tolerance * Math.abs(value));
      });
      expect({ name, wrong }).toEqual({ name, wrong: -1 });
    }
    const report = JSON.parse((await vqd("inspect", out, "--json")).stdout) as Inspection;
    for (const { parameters, bytes: size } of report.components) {
      expect(size).toBeGreaterThanOrEqual(parameters * bytes);
      expect(size).toBeLessThan(parameters * bytes + 30_000);
    }
  });

  it("leaves what is there alone, unless it is a checkpoint and --force is given", async () => {
    const out = join(folder, "out");
    await mkdir(out);
    await writeFile(join(out, "thesis.txt"), "hello");
    expect((await vqd("convert", dir, out)).stderr).toMatch(
      /already exists and is not empty; --force replaces it/,
    );
    expect((await vqd("convert", dir, out, "--force")).stderr).toMatch(
      /is not a checkpoint, so --force will not replace it/,
    );
    expect(await readdir(out)).toEqual(["thesis.txt"]);
    await writeFile(join(out, "model_index.json"), "{}");
    expect((await vqd("convert", dir, out, "--force")).code).toBe(0);
    expect(await readdir(out)).not.toContain("thesis.txt");
    expect((await readdir(folder)).toSorted()).toEqual(["checkpoint", "out"]);
  });

  it("copies the model's files alone, and waits for nobody else's work", async () => {
    await writeFile(join(dir, "notes.txt"), "x");
    await mkdir(join(dir, "vqvae", "old.json"));
    const target = join(folder, "out");
    await writeFile(join(folder, ".out.vqd-lock"), `${process.pid}\n`);
    expect((await vqd("convert", dir, target)).stderr).toMatch(
      /another vqd command \(process \d+\) is writing/,
    );
    await rm(join(folder, ".out.vqd-lock"));
    expect((await vqd("convert", dir, target)).code).toBe(0);
    expect(await readdir(folder)).toEqual(["checkpoint", "out"]);
    const files = await readdir(target, { recursive: true });
    expect(files.filter((name) => /notes|old/.test(name))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(["tokenizer/vocab.json", "model_index.json"]));
  });

  it("writes nothing of a checkpoint with a problem", async () => {
    await edit("transformer/config.json", { num_layers: 3 });
    const { code, stderr } = await vqd("convert", dir, join(folder, "out"));
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /cannot be converted: .*tensor transformer_blocks\.2\S+ is missing; take config and weights from the same model \(and \d+ more/,
    );
    expect(await readdir(folder)).toEqual(["checkpoint"]);
  });

  it("refuses to write what fp16 cannot hold", async () => {
    const name = "learned_classifier_free_sampling_embeddings";
    const file = join(dir, name, "diffusion_pytorch_model");
    await rm(`${file}.safetensors`);
    const data = new Uint8Array(new Float32Array(77 * 24).fill(1e5).buffer);
    await writeFile(`${file}.bin`, torchFile({ embeddings: { dtype: "F32", shape: [77, 24], data } }));
    const { stderr } = await vqd("convert", dir, join(folder, "out"), "--dtype", "fp16");
    expect(stderr).toMatch(
      /diffusion_pytorch_model\.bin: tensor embeddings holds 100000, which fp16 cannot hold/,
    );
    expect(await readdir(folder)).toEqual(["checkpoint"]);
  });
});

describe("vqd encode", () => {
  it("writes the decoded image and the codes, and reports how close it is", async () => {
    const image = join(folder, "in.png");
    const create = {
      width: 40,
      height: 20,
      channels: 4,
      background: { r: 200, g: 30, b: 90, alpha: 0.5 },
    } as const;
    await sharp({ create }).png().toFile(image);
    const [out, tokens] = [join(folder, "new", "out.webp"), join(folder, "codes.json")];
    const args = ["--out", out, "--tokens", tokens, "--model", dir, "--cache", join(folder, "cache")];
    const { code, stdout } = await vqd("encode", image, ...args);
    expect(code).toBe(0);
    expect(stdout).toMatch(/\nPSNR \d+\.\d\d dB\n$/);
    expect(stdout.startsWith(`${out}\n${tokens}\n`)).toBe(true);
    expect(await sharp(out).metadata()).toMatchObject({ format: "webp", width: 16, height: 16 });
    const codes = JSON.parse(await readFile(tokens, "utf8")) as { width: number; tokens: number[] };
    expect(codes).toMatchObject({ model: "checkpoint", width: 8, height: 8 });
    expect(codes.tokens).toHaveLength(64);
    expect(codes.tokens.every((token) => Number.isInteger(token) && token >= 0 && token < 128)).toBe(true);
  });

  it("says that a file is not an image", async () => {
    const args = ["--model", dir, "--cache", join(folder, "cache"), "--out", join(folder, "out.png")];
    const { code, stderr } = await vqd("encode", join(dir, "model_index.json"), ...args);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^vqd: \S+model_index\.json: not a readable image: [^\n]+\n$/);
  });
});

describe("vqd worker", () => {
  it("is the worker: it reads its settings from the environment", async () => {
    process.env["VQD_THREADS"] = "many";
    try {
      const { code, stdout } = await vqd("worker");
      expect(code).toBe(1);
      expect(stdout).toMatch(/"msg":"worker failed".*VQD_THREADS/);
    } finally {
      delete process.env["VQD_THREADS"];
    }
  });
});
