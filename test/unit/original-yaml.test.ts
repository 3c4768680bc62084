// Configs of the original code base: what they say, and files that are hostile or of another model.

import { writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { readOriginalConfig } from "../../gpu-worker/checkpoint/original/config.ts";
import { readYaml } from "../../gpu-worker/checkpoint/original/yaml.ts";
import { MODELS } from "../support/originals.ts";
import { temporaryFolder } from "../support/tiny.ts";

let path: string;
beforeEach(async () => {
  path = join(await temporaryFolder(), "config.yaml");
});

async function refusal(text: string, read: () => unknown): Promise<string> {
  await writeFile(path, text);
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    const { message } = error as Error;
    expect(message.startsWith(`${path}: `)).toBe(true);
    expect(message.length).toBeLessThan(path.length + 600);
    return message;
  }
  throw new Error("it was read");
}

describe("YAML", () => {
  const read = (): unknown => readYaml(path, z.unknown());

  it("knows Python's tuples, and numbers and words as PyYAML does", async () => {
    await writeFile(
      path,
      "a: !!python/tuple [32, 16]\nb: !!python/tuple\n- 1\nc: 5.0e-4\nd: True\ne: None\nf: no\n",
    );
    expect(read()).toEqual({ a: [32, 16], b: [1], c: 0.0005, d: true, e: "None", f: false });
  });

  it.each([
    ["a call", "a: !!python/object/apply:os.system ['touch /tmp/owned']", /Unresolved tag.*os\.system/],
    ["an object", "a: !!python/object:os.x {}", /Unresolved tag/],
    ["a name", "a: !!python/name:os.system", /Unresolved tag/],
    ["a module", "a: !!python/module:os", /Unresolved tag/],
    ["a tag of its own", "a: !foo 3", /Unresolved tag: !foo/],
    ["a tuple that is none", "a: !!python/tuple {b: 1}", /Unresolved tag/],
    ["an alias", "a: &x [1]\nb: *x", /Alias resolution is disabled/],
    ["a bomb of aliases", "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", /Alias resolution is disabled/],
    ["deep nesting", "[".repeat(200_000), /nested too deeply|call stack/],
    ["a key twice", "a: 1\na: 2", /keys must be unique/],
    ["no YAML", "a: [1\nb: }", /cannot be read as YAML/],
    ["too much", `a: ${"x".repeat(300 * 1024)}`, /has \d+ bytes; the limit is 262144/],
  ])("refuses %s", async (_, text, expected) => {
    expect(await refusal(text, read)).toMatch(expected);
  });
});

describe("a config", () => {
  it("says what kind of model it is of", () => {
    expect(readOriginalConfig(MODELS["text-gumbel"].config)).toEqual({
      family: "text",
      timesteps: 50,
      layers: 1,
      width: 48,
      heads: 4,
      innerWidth: 192,
      isConvolutional: false,
      side: 8,
      positionGrid: [8, 8],
      codes: 40,
      text: { length: 77, endIndex: 320, learnable: false },
      isGumbel: true,
      vqgan: "OUTPUT/pretrained_model/taming_dvae/taming_f8_8192_openimages_last.pth",
      codeMap: "./help_folder/statistics/taming_vqvae_40.pt",
    });
    expect(readOriginalConfig(MODELS.class.config)).toMatchObject({
      family: "class",
      isConvolutional: true,
      innerWidth: 24,
      positionGrid: [16, 16],
      text: undefined,
    });
    expect(readOriginalConfig(MODELS.none.config)).toMatchObject({ family: "none", codeMap: undefined });
  });

  const text = readFileSync(MODELS["text-gumbel"].config, "utf8");
  it.each<[string, [RegExp, string][], RegExp]>([
    [
      "of another class",
      [[/dalle\.DALLE/, "dalle.Other"]],
      /model\.target: .*"DALLE"\|"C_DALLE"\|"UC_DALLE"/,
    ],
    ["of another schedule", [[/alpha1/, "cos"]], /alpha_init_type: .*"alpha1"/],
    ["with another activation", [[/GELU2/, "GELU"]], /block_activate: .*"GELU2"/],
    [
      "with sinusoidal timesteps",
      [[/timestep_type: adalayernorm/, "timestep_type: adalayernorm_abs"]],
      /timestep_type/,
    ],
    ["whose embeddings are not normalized", [[/normalize: true/, "normalize: false"]], /normalize: .*true/],
    [
      "with a kind of attention that its model has not",
      [[/selfcross/, "self"]],
      /attn_type: is self, but DALLE has selfcross/,
    ],
    ["without layers", [[/n_layer: 1/, "n_layer: 0"]], /n_layer: .*>=1/],
    [
      "with heads that do not divide its width",
      [[/n_head: 4/, "n_head: 5"]],
      /n_head: does not divide n_embd/,
    ],
    [
      "of an oblong image",
      [[/content_spatial_size:\s+- 8/, "content_spatial_size:\n            - 4"]],
      /content_spatial_size: is 4 x 8/,
    ],
    [
      "of another number of pixels",
      [[/content_seq_len: 64/, "content_seq_len: 65"]],
      /content_seq_len: is 65, but the image has 8 x 8/,
    ],
    [
      "with too few positions",
      [[/spatial_size: !!python\/tuple\s+- 8/, "spatial_size: !!python/tuple\n            - 4"]],
      /too few positions/,
    ],
    ["without a tokenizer", [[/tokenizer_config/, "other"]], /tokenizer_config: is missing/],
  ])("%s is refused", async (_, changes, expected) => {
    const changed = changes.reduce((all, [from, to]) => {
      expect(all).toMatch(from);
      return all.replace(from, to);
    }, text);
    expect(await refusal(changed, () => readOriginalConfig(path))).toMatch(expected);
  });
});
