// Converting models of the original code base: which files are read, and what is refused.

import { copyFile, cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { beforeEach, describe, expect, it } from "vitest";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { convertOriginal, type OriginalFiles } from "../../gpu-worker/checkpoint/original/convert.ts";
import { TorchFile } from "../../gpu-worker/checkpoint/torch/torch-file.ts";
import type { PickleDict, PickleValue } from "../../gpu-worker/checkpoint/torch/pickle-values.ts";
import { SafetensorsFile } from "../../gpu-worker/checkpoint/weights/safetensors.ts";
import { vqd } from "../support/cli.ts";
import { converted, MODELS, ORIGINALS } from "../support/originals.ts";
import { temporaryFolder } from "../support/tiny.ts";
import { op, pickle, scriptedFile, torchFile, zipFile } from "../support/torch-files.ts";

let dir: string;
beforeEach(async () => {
  dir = await temporaryFolder();
});

const floats = (count: number, value = 1): Uint8Array =>
  new Uint8Array(new Float32Array(count).fill(value).buffer);

async function refusal(files: OriginalFiles): Promise<string> {
  const to = join(dir, "out");
  const error: unknown = await convertOriginal(files, to, { dtype: "F32" }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  expect((await readdir(dir)).filter((name) => name.startsWith(".out") || name === "out")).toEqual([]);
  return (error as Error).message;
}

describe("a training checkpoint", () => {
  it("gives its averaged weights", async () => {
    const model = TorchFile.openPart(MODELS["text-patch"].model, (value) => dictAt(value, "model"));
    const ema = TorchFile.openPart(MODELS["text-patch"].model, (value) => dictAt(value, "ema"));
    const written = SafetensorsFile.open(
      join(await converted("text-patch"), "transformer", "diffusion_pytorch_model.safetensors"),
    );
    const found = written.read("out.weight");
    expect(found).toEqual(ema.read("transformer.to_logits.1.weight"));
    expect(found).not.toEqual(model.read("transformer.transformer.to_logits.1.weight"));
    for (const file of [model, ema, written]) file.close();
  });

  it("is refused without the dict of the model", async () => {
    const path = join(dir, "model.pth");
    await writeFile(path, torchFile({ weight: { dtype: "F32", shape: [1], data: floats(1) } }));
    expect(await refusal({ ...MODELS.none, model: path })).toMatch(/holds no dict called model/);
  });

  it.each<[string, Buffer, RegExp]>([
    [
      "calls os.system",
      pickle(op.global("os", "system"), op.text("id"), op.tuple1, op.reduce),
      /os\.system, which may run code/,
    ],
    [
      "hides a call among the optimizer's states",
      pickle(
        op.emptyDict,
        op.mark,
        op.text("model"),
        op.emptyDict,
        op.text("optimizer_and_scheduler"),
        op.global("builtins", "eval"),
        op.text("1"),
        op.tuple1,
        op.reduce,
        op.setItems,
      ),
      /builtins\.eval, which may run code/,
    ],
    ["is no dict", pickle(op.emptyList), /holds no dict called model/],
  ])("that %s is refused", async (_, data, expected) => {
    const path = join(dir, "model.pth");
    await writeFile(path, zipFile([{ name: "archive/data.pkl", data }]));
    expect(await refusal({ ...MODELS.none, model: path })).toMatch(expected);
  });

  it("of another model than the config is refused, with the tensor that does not fit", async () => {
    expect(await refusal({ ...MODELS.none, model: MODELS.class.model })).toMatch(
      /has 1 blocks, but the config implies 2/,
    );
    const config = join(dir, "config.yaml");
    const text = await readFile(MODELS.none.config, "utf8");
    await writeFile(config, text.replaceAll("n_embd: 24", "n_embd: 32"));
    const vqgan = join(ORIGINALS, "models/ffhq/OUTPUT/pretrained_model/taming_dvae/vqgan_ffhq_f16_1024.pth");
    expect(await refusal({ ...MODELS.none, config, vqgan })).toMatch(
      /tensor transformer\.content_emb\.emb\.weight has shape \[33, 24\], the config implies \[33, 32\]/,
    );
  });
});

describe("the VQ model", () => {
  it("is looked for in the folders above the config, and taken from where it is said to be", async () => {
    const config = join(dir, "config.yaml");
    await copyFile(MODELS.class.config, config);
    expect(await refusal({ ...MODELS.class, config })).toMatch(/give the VQ model's own file with --vqgan/);
    const family = join(ORIGINALS, "models", "imagenet");
    const vqgan = join(family, "OUTPUT/pretrained_model/taming_dvae/vqgan_imagenet_f16_16384.pth");
    expect(await refusal({ ...MODELS.class, config, vqgan })).toMatch(/give that file with --code-map/);
    const codeMap = join(family, "help_folder/statistics/taming_vqvae_36.pt");
    const to = join(dir, "out");
    await convertOriginal({ ...MODELS.class, config, vqgan, codeMap }, to, { dtype: "F32" });
    const whole = join(await converted("class"), "vqvae");
    for (const name of ["config.json", "diffusion_pytorch_model.safetensors"]) {
      expect(await readFile(join(to, "vqvae", name))).toEqual(await readFile(join(whole, name)));
    }
  });

  it("must have the codes that the map is of", async () => {
    const codeMap = join(ORIGINALS, "models/coco/help_folder/statistics/taming_vqvae_40.pt");
    expect(await refusal({ ...MODELS.class, codeMap })).toMatch(
      /maps a code to 3\d, but the model has tokens 0 to 35/,
    );
    expect(await refusal({ ...MODELS.none, codeMap })).toMatch(/it takes no map of codes/);
    expect(await refusal({ ...MODELS.class, codeMap: MODELS.class.model })).toMatch(/holds no single tensor/);
  });

  it("is not found through a config that leads elsewhere", async () => {
    const inner = join(dir, "a", "b");
    await mkdir(inner, { recursive: true });
    const text = await readFile(MODELS.none.config, "utf8");
    const named = "OUTPUT/pretrained_model/taming_dvae/vqgan_ffhq_f16_1024.pth";
    const target = join(dir, "elsewhere.pth");
    await cp(join(ORIGINALS, "models/ffhq", named), target);
    for (const path of [target, "../../elsewhere.pth", "a/../../../elsewhere.pth"]) {
      const config = join(inner, "config.yaml");
      await writeFile(config, text.replace(named, path));
      expect(await refusal({ ...MODELS.none, config })).toMatch(/give the VQ model's own file/);
    }
  });
});

describe("CLIP", () => {
  it("is read from a TorchScript archive like OpenAI's, whose code is not", async () => {
    const source = TorchFile.openPart(MODELS["text-gumbel"].model, (value) => dictAt(value, "ema"));
    const start = "condition_emb.";
    const names = [...source.entries.keys()].filter((name) => name.startsWith(start));
    const tensors = Object.fromEntries(
      names.map((name) => [
        name.slice(start.length),
        {
          dtype: "F32" as const,
          shape: source.entries.get(name)?.shape ?? [],
          data: new Uint8Array(source.read(name).buffer),
        },
      ]),
    );
    source.close();
    const clip = join(dir, "ViT-B-32.pt");
    const code = Buffer.from("import os\n".repeat(100));
    const data = deflateRawSync(code);
    await writeFile(
      clip,
      scriptedFile(tensors, [
        { name: "archive/code/__torch__/model.py", data, method: 8, size: code.length },
      ]),
    );
    const own = join(await converted("text-gumbel"), "text_encoder", "model.safetensors");
    const given = join(await converted("text-gumbel", { clip }), "text_encoder", "model.safetensors");
    expect(await readFile(given)).toEqual(await readFile(own));
  });

  it("of another vocabulary than the config's is refused", async () => {
    const clip = join(dir, "clip.pt");
    const shapes = { "token_embedding.weight": [10, 64], positional_embedding: [77, 64] };
    const tensors = Object.entries(shapes).map(([name, shape]) => [
      name,
      { dtype: "F32" as const, shape, data: floats((shape[0] ?? 0) * 64) },
    ]);
    await writeFile(clip, scriptedFile(Object.fromEntries(tensors), []));
    expect(await refusal({ ...MODELS["text-gumbel"], clip })).toMatch(
      /token_embedding\.weight has 10 tokens, but the config's end_idx implies 576/,
    );
  });
});

describe("vqd convert --from original", () => {
  it("writes a checkpoint that vqd inspect explains", async () => {
    const to = join(dir, "out");
    const { config, model } = MODELS["class-learned"];
    const done = await vqd("convert", "--from", "original", config, model, to, "--dtype", "fp16");
    expect(done).toMatchObject({ code: 0, stdout: `${to}\n` });
    const { code, stdout } = await vqd("inspect", to);
    expect(code).toBe(0);
    expect(stdout).toContain("prompt      the label of one of 1000 classes, 1000 of them with names");
    expect(stdout).toContain('conditioned by one of 1000 classes; "no class" is a learned embedding');
    expect(stdout).toContain("vqvae: 36 tokens of a codebook of 64, by code_map");
    expect(stdout).toContain("feed-forward of 3 x 3 convolutions");
    const again = await vqd("convert", "--from", "original", config, model, to);
    expect(again).toMatchObject({ code: 1, stdout: "" });
    expect(again.stderr).toContain("--force replaces it");
  });

  it("says when there are no averaged weights", async () => {
    const { config, model } = MODELS.class;
    const { code, stderr } = await vqd("convert", "--from", "original", config, model, join(dir, "out"));
    expect(code).toBe(0);
    expect(stderr).toContain("the checkpoint has no averaged weights (ema); took the last ones");
  });

  it.each([
    [["--from", "original", "a.yaml", "b.pth"], "DST is missing"],
    [
      ["--from", "original", "a.yaml", "b.pth", "c", "--variant", "fp16"],
      "--variant has an effect with --from diffusers only",
    ],
    [["a", "b", "--clip", "x"], "--clip has an effect with --from original only"],
    [["--from", "other", "a", "b"], "--from must be one of diffusers, original"],
  ])("refuses %j", async (args, expected) => {
    const { code, stderr } = await vqd("convert", ...args);
    expect(code).toBe(2);
    expect(stderr).toContain(expected);
  });
});

describe("vqd generate", () => {
  it("takes a class by name, and says what classes there are", async () => {
    const model = await converted("class-learned");
    const out = join(dir, "image.png");
    const args = ["--model", model, "--out", out, "--cache", join(dir, "cache"), "--steps", "4"];
    expect(await vqd("generate", "golden retriever", ...args)).toMatchObject({ code: 0, stdout: `${out}\n` });
    const unknown = await vqd("generate", "retriever", ...args);
    expect(unknown.code).not.toBe(0);
    expect(unknown.stderr).toContain("by name or label, such as");
    expect(await vqd("generate", ...args)).toMatchObject({ code: 2 });
  });

  it("takes no prompt where nothing conditions the model", async () => {
    const model = await converted("none");
    const out = join(dir, "image.png");
    const args = ["--model", model, "--out", out, "--cache", join(dir, "cache"), "--steps", "4"];
    expect(await vqd("generate", ...args)).toMatchObject({ code: 0, stdout: `${out}\n` });
    const given = await vqd("generate", "a face", ...args);
    expect(given.code).not.toBe(0);
    expect(given.stderr).toContain("prompt must be empty: the model is not conditioned");
  });
});

function dictAt(value: PickleValue, key: string): PickleDict {
  const found = value instanceof Map ? value.get(key) : undefined;
  if (found instanceof Map) return found;
  throw new Error(`no ${key}`);
}
