// Checkpoints as older versions of diffusers and transformers wrote them give the same images.

import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import { inspectCheckpoint } from "../../gpu-worker/checkpoint/inspect.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";
import { tokenizerFolder } from "../support/tokenizers.ts";

const VQVAE = "vqvae/diffusion_pytorch_model.safetensors";
const TEXT_ENCODER = "text_encoder/model.safetensors";
const UNCONDITIONAL = "learned_classifier_free_sampling_embeddings";
const LENGTH_BYTES = 8;

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

let dir: string;
beforeEach(async () => {
  dir = join(await temporaryFolder(), "checkpoint");
  await cp(TINY_CHECKPOINT, dir, { recursive: true });
});

/** Rewrites the header of a weight file; what `change` returns is put behind the data. */
async function rewrite(file: string, change: (header: Header, dataBytes: number) => Uint8Array | undefined) {
  const path = join(dir, file);
  const bytes = await readFile(path);
  const end = LENGTH_BYTES + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(LENGTH_BYTES, end).toString()) as Header;
  const added = change(header, bytes.length - end);
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([length, json, bytes.subarray(end), added ?? new Uint8Array()]));
}

async function edit(file: string, change: Record<string, unknown>): Promise<void> {
  const path = join(dir, file);
  const json = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...json, ...change }));
}

async function latentsAndImage(model: string, prompt = "red apple", guidanceScale = 5) {
  const pipeline = await VQDiffusionPipeline.fromPretrained(model, { cacheDir: await temporaryFolder() });
  try {
    const options = { prompt, guidanceScale, seed: 7, numInferenceSteps: 6 };
    const { latents, images } = await pipeline.call(options);
    const [image] = images;
    if (image === undefined) throw new Error("no image");
    return { latents, data: image.data, codes: await pipeline.encodeImage(image) };
  } finally {
    await pipeline.release();
  }
}

it("with the first names of the attention layers", async () => {
  const names = { to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj_attn" };
  let renamed = 0;
  await rewrite(VQVAE, (header) => {
    for (const [name, entry] of Object.entries(header)) {
      const pair = Object.entries(names).find(([now]) => name.includes(`.attentions.0.${now}.`));
      if (pair === undefined) continue;
      delete header[name];
      header[name.replace(`.${pair[0]}.`, `.${pair[1]}.`)] = entry;
      renamed++;
    }
    return undefined;
  });
  expect(renamed).toBeGreaterThan(0);
  expect(await latentsAndImage(dir)).toEqual(await latentsAndImage(TINY_CHECKPOINT));
});

it("with position_ids beside the text encoder's weights, and ada_norm called layer_norm", async () => {
  await rewrite(TEXT_ENCODER, (header, dataBytes) => {
    const positions = BigInt64Array.from({ length: 77 }, (_, i) => BigInt(i));
    header["text_model.embeddings.position_ids"] = {
      dtype: "I64",
      shape: [1, 77],
      data_offsets: [dataBytes, dataBytes + positions.byteLength],
    };
    return new Uint8Array(positions.buffer);
  });
  await edit("transformer/config.json", { norm_type: "layer_norm" });
  expect(await latentsAndImage(dir)).toEqual(await latentsAndImage(TINY_CHECKPOINT));
});

it("with the names of transformers 5, whose own state_dict() has them without text_model", async () => {
  // save_file(CLIPTextModel.from_pretrained(FOLDER).state_dict(), "model.safetensors")
  await rewrite(TEXT_ENCODER, (header) => {
    for (const [name, entry] of Object.entries(header)) {
      if (!name.startsWith("text_model.")) continue;
      delete header[name];
      header[name.slice("text_model.".length)] = entry;
    }
    return undefined;
  });
  expect(inspectCheckpoint(dir)).toMatchObject({ problems: [], components: [{ unused: [] }, {}, {}, {}] });
  expect(await latentsAndImage(dir)).toEqual(await latentsAndImage(TINY_CHECKPOINT));
});

it("with a tokenizer as transformers 5 saves it, in one file", async () => {
  await cp(join(await tokenizerFolder("five"), "tokenizer"), join(dir, "tokenizer"), { recursive: true });
  for (const file of ["merges.txt", "vocab.json", "special_tokens_map.json"]) {
    await rm(join(dir, "tokenizer", file));
  }
  expect(inspectCheckpoint(dir).problems).toEqual([]);
  const prompt = "red apple!!";
  expect(await latentsAndImage(dir, prompt)).toEqual(await latentsAndImage(TINY_CHECKPOINT, prompt));
});

it("with a token added by textual inversion, and its embedding", async () => {
  // tokenizer.add_tokens("<cat-toy>"); text_encoder.resize_token_embeddings(49409)
  const EMBEDDING = "text_model.embeddings.token_embedding.weight";
  await rewrite(TEXT_ENCODER, (header, dataBytes) => {
    const [, width = 0] = header[EMBEDDING]?.shape ?? [];
    const [begin, end] = header[EMBEDDING]?.data_offsets ?? [0, 0];
    const rows = new Uint8Array(end - begin + 4 * width);
    header[EMBEDDING] = {
      dtype: "F32",
      shape: [49_409, width],
      data_offsets: [dataBytes, dataBytes + rows.length],
    };
    return rows;
  });
  await edit("text_encoder/config.json", { vocab_size: 49_409 });
  await writeFile(join(dir, "tokenizer", "added_tokens.json"), '{"<cat-toy>": 49408}');
  const { problems, addedTokens } = inspectCheckpoint(dir);
  expect(problems).toEqual([]);
  expect(addedTokens).toContain("<cat-toy>");
  const pipeline = await VQDiffusionPipeline.fromPretrained(dir, { cacheDir: await temporaryFolder() });
  try {
    expect(pipeline.tokenize("a <cat-toy>").ids.slice(0, 4)).toEqual([49_406, 320, 49_408, 49_407]);
    const options = { prompt: "a <cat-toy>", seed: 7, numInferenceSteps: 2, outputType: "latents" } as const;
    expect((await pipeline.call(options)).latents).toHaveLength(1);
  } finally {
    await pipeline.release();
  }
});

it("without learned unconditional embeddings, where the empty prompt is what guidance moves away from", async () => {
  await edit(`${UNCONDITIONAL}/config.json`, { learnable: false, hidden_size: null, length: null });
  await rm(join(dir, UNCONDITIONAL, "diffusion_pytorch_model.safetensors"));
  const pipeline = await VQDiffusionPipeline.fromPretrained(dir, { cacheDir: await temporaryFolder() });
  try {
    const [empty] = await pipeline.encodePrompt([pipeline.tokenize("").ids]);
    expect(await pipeline.encodeNegativePrompt(null)).toEqual(empty);
  } finally {
    await pipeline.release();
  }
  const guided = await latentsAndImage(dir);
  expect(guided).not.toEqual(await latentsAndImage(dir, "red apple", 1));
});
