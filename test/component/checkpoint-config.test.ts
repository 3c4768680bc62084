// Configs that no model can have are refused, naming file, field and reason, before a graph is built of them.

import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const SCHEDULER = "scheduler/scheduler_config.json";
const TEXT_ENCODER = "text_encoder/config.json";
const TOKENIZER = "tokenizer/tokenizer_config.json";
const TRANSFORMER = "transformer/config.json";
const VQVAE = "vqvae/config.json";

/** Ends of the cumulative schedules. */
const ends = (alphaStart: number, alphaEnd: number, gammaStart: number, gammaEnd: number) => ({
  alpha_cum_start: alphaStart,
  alpha_cum_end: alphaEnd,
  gamma_cum_start: gammaStart,
  gamma_cum_end: gammaEnd,
});

let dir: string;
beforeEach(async () => {
  dir = join(await temporaryFolder(), "checkpoint");
  await cp(TINY_CHECKPOINT, dir, { recursive: true });
});

async function edit(file: string, change: Record<string, unknown>): Promise<void> {
  const path = join(dir, file);
  const json = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...json, ...change }));
}

const open = (): DiffusersCheckpoint => new DiffusersCheckpoint(dir);

describe("a checkpoint is refused", () => {
  it.each<[string, Record<string, unknown>, RegExp]>([
    [TRANSFORMER, { num_vector_embeds: 65_537 }, /: num_vector_embeds: .*65536, found 65537; correct/],
    [VQVAE, { num_vq_embeddings: 65_536 }, /: num_vq_embeddings: .*65535, found 65536; correct/],
    [VQVAE, { norm_num_groups: 5 }, /: norm_num_groups: does not divide .* 32, 64, found 5; correct/],
    [SCHEDULER, { num_vec_classes: 65_537 }, /: num_vec_classes: .*65536, found 65537; correct/],
    [SCHEDULER, { alpha_cum_start: 5 }, /: alpha_cum_start: .*1, found 5/],
    [SCHEDULER, { alpha_cum_end: -0.1 }, /: alpha_cum_end: .*0, found -0.1; correct/],
    [SCHEDULER, ends(0, 0, 0.1, 0.9), /: alpha_cum_start: .*0, found 0; correct/],
    [SCHEDULER, ends(0.99, 0.01, 0, 0), /: gamma_cum_end: .*0, found 0; correct/],
    [
      SCHEDULER,
      { gamma_cum_end: 1 },
      /: alpha_cum_end: makes more than 1 with gamma_cum_end 1, found 0.000009; correct/,
    ],
    [
      SCHEDULER,
      ends(0.9, 0, 0.2, 0.9),
      /: alpha_cum_start: makes more than 1 with gamma_cum_start 0.2, found 0.9/,
    ],
    [
      SCHEDULER,
      ends(0.4, 0.1, 0.5, 0.4),
      /: gamma_cum_end: is less than gamma_cum_start 0.5, found 0.4; correct/,
    ],
    [
      SCHEDULER,
      ends(0.5, 0.1, 0.1, 0.9),
      /: alpha_cum_end: is a larger part .* than alpha_cum_start, found 0.1; correct/,
    ],
    [
      TEXT_ENCODER,
      { num_attention_heads: 7 },
      /: num_attention_heads: does not divide .* 24, found 7; correct/,
    ],
    [TEXT_ENCODER, { max_position_embeddings: 1 }, /: max_position_embeddings: .*2, found 1; correct/],
    [TEXT_ENCODER, { layer_norm_eps: -1 }, /: layer_norm_eps: .*0, found -1; correct/],
    [TOKENIZER, { model_max_length: 76.5 }, /: model_max_length: is not an integer, found 76.5; correct/],
    [TOKENIZER, { model_max_length: -5 }, /: model_max_length: .*2, found -5; correct/],
    [TOKENIZER, { model_max_length: 1 }, /: model_max_length: .*2, found 1; correct/],
  ])("whose %s says %j", async (file, change, reason) => {
    await edit(file, change);
    expect(open).toThrow(CheckpointError);
    expect(open).toThrow(expect.objectContaining({ path: join(dir, file) }));
    expect(open).toThrow(reason);
  });
});

describe("a checkpoint is taken", () => {
  it.each<[string, Record<string, unknown>]>([
    // The published model's.
    [SCHEDULER, ends(0.99999, 0.000009, 0.000009, 0.99999)],
    [SCHEDULER, ends(1, 0, 0, 1)],
    // Never replaces: what is not masked has kept its class.
    [SCHEDULER, ends(0.99999, 0.00001, 0.00001, 0.99999)],
    [SCHEDULER, ends(0.9, 0.3, 0.1, 0.7)],
    [SCHEDULER, { num_train_timesteps: 1 }],
    [TOKENIZER, { model_max_length: 1e30 }],
    [TOKENIZER, { model_max_length: undefined }],
  ])("whose %s says %j, and makes an image", async (file, change) => {
    await edit(file, change);
    const pipeline = await VQDiffusionPipeline.fromPretrained(dir, { cacheDir: await temporaryFolder() });
    const { latents } = await pipeline.call({ prompt: "red apple", seed: 7, outputType: "latents" });
    await pipeline.release();
    expect(new Set(latents[0]).size).toBeGreaterThan(1);
    expect(latents[0]?.every((code) => code < 128)).toBe(true);
  });

  it("that is bundled", () => {
    expect(new DiffusersCheckpoint(BUNDLED_MODEL).scheduler.gamma_cum_end).toBe(0.9);
  });
});
