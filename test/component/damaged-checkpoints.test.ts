// Damaged checkpoint folders, as people have them: `vqd inspect` and loading both refuse them, naming file and remedy.
// Unrelated files in the folder change nothing.

import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { inspectCheckpoint } from "../../gpu-worker/checkpoint/inspect.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { ensureGraphs } from "../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../gpu-worker/graph/form.ts";
import { vqd } from "../support/cli.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const TEXT_ENCODER = "text_encoder/model.safetensors";
const TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors";
const VQVAE = "vqvae/diffusion_pytorch_model.safetensors";
const MERGES = "tokenizer/merges.txt";
const VOCAB = "tokenizer/vocab.json";
const LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 131\n";

let dir: string;
beforeEach(async () => {
  dir = join(await temporaryFolder(), "checkpoint");
  cpSync(TINY_CHECKPOINT, dir, { recursive: true });
});

const at = (file: string): string => join(dir, file);
const write = (file: string, content: string | Uint8Array): void => {
  rmSync(at(file), { recursive: true, force: true });
  writeFileSync(at(file), content);
};
const edit = (file: string, change: object): void =>
  write(file, JSON.stringify({ ...(JSON.parse(readFileSync(at(file), "utf8")) as object), ...change }));
const text = (file: string): string => readFileSync(at(file), "utf8");
const link = (target: string, file: string): void => {
  rmSync(at(file), { recursive: true, force: true });
  symlinkSync(target, at(file));
};

/** What is wrong, in which file, how it is made, and the expected error. */
type Damage = [what: string, file: string, damage: () => void, said: RegExp];

const DAMAGES: Damage[] = [
  ["an empty file", TRANSFORMER, () => write(TRANSFORMER, ""), /is empty, .*; fetch the file again/],
  [
    "a Git LFS pointer",
    TEXT_ENCODER,
    () => write(TEXT_ENCODER, LFS),
    /is a Git LFS pointer.*; run git lfs pull/,
  ],
  [
    "a Git LFS pointer of a table",
    MERGES,
    () => write(MERGES, LFS),
    /is a Git LFS pointer.*; run git lfs pull/,
  ],
  ["a Git LFS pointer of JSON", VOCAB, () => write(VOCAB, LFS), /is a Git LFS pointer.*; run git lfs pull/],
  [
    "a git-annex pointer",
    VQVAE,
    () => write(VQVAE, "/annex/objects/SHA256E-s1--ab\n"),
    /; run git annex get/,
  ],
  [
    "a web page",
    VQVAE,
    () => write(VQVAE, "<!DOCTYPE html><html>"),
    /is a web page.*; download the file itself/,
  ],
  [
    "a web page as config",
    "vqvae/config.json",
    () => write("vqvae/config.json", "\n<html>"),
    /is a web page/,
  ],
  [
    "a storage's refusal",
    VQVAE,
    () => write(VQVAE, '<?xml version="1.0"?><Error>'),
    /is an XML error.*; fetch/,
  ],
  [
    "a server's error",
    "vqvae/config.json",
    () => write("vqvae/config.json", '{"error": "Not"}'),
    /error message instead of the file; read it/,
  ],
  [
    "the Hugging Face Hub's refusal",
    TRANSFORMER,
    () => write(TRANSFORMER, "Entry not found"),
    /error message instead of the file; read it/,
  ],
  [
    "a compressed file",
    TRANSFORMER,
    () => write(TRANSFORMER, gzipSync("x")),
    /is compressed \(gzip\); unpack/,
  ],
  ["a GGUF file", TRANSFORMER, () => write(TRANSFORMER, "GGUF\x03\0\0\0\0\0"), /is a GGUF file; get the/],
  [
    "a zip file",
    TRANSFORMER,
    () => write(TRANSFORMER, "PK\x03\x04aaaaaaaaaa"),
    /is a zip archive.*; rename it/,
  ],
  [
    "macOS's notes",
    VQVAE,
    () => write(VQVAE, "\0\x05\x16\x07\0\x02\0\0Mac OS X"),
    /AppleDouble.*; delete it/,
  ],
  ["nothing but zeros", VQVAE, () => write(VQVAE, new Uint8Array(4096)), /starts with zeros only.*; fetch/],
  ["UTF-16", MERGES, () => write(MERGES, Buffer.from(`\uFEFF${text(MERGES)}`, "utf16le")), /UTF-16; save it/],
  [
    "safetensors named .bin",
    "vqvae",
    () => renameSync(at(VQVAE), at("vqvae/diffusion_pytorch_model.bin")),
    /rename it to \.safetensors/,
  ],
  [
    "a cut weight file",
    TEXT_ENCODER,
    () => truncateSync(at(TEXT_ENCODER), 100_000),
    /lies outside of the file; fetch/,
  ],
  ["a cut header", VQVAE, () => truncateSync(at(VQVAE), 500), /the header claims .*; fetch/],
  [
    "a cut config",
    "vqvae/config.json",
    () => truncateSync(at("vqvae/config.json"), 90),
    /not a JSON file; fetch/,
  ],
  [
    "a missing config",
    "transformer/config.json",
    () => rmSync(at("transformer/config.json")),
    /is missing.*; fetch/,
  ],
  ["no weights", "vqvae", () => rmSync(at(VQVAE)), /the weights are missing.*; fetch either/],
  [
    "another name of weights",
    "vqvae",
    () => renameSync(at(VQVAE), at("vqvae/model.ckpt")),
    /files with other names are ignored/,
  ],
  [
    "no component",
    "transformer",
    () => rmSync(at("transformer"), { recursive: true }),
    /is missing.*; fetch/,
  ],
  [
    "parts without an index",
    "transformer",
    () =>
      renameSync(at(TRANSFORMER), at("transformer/diffusion_pytorch_model.fp16-00001-of-00002.safetensors")),
    /has a shard of the weights, .*; also fetch diffusion_pytorch_model\.safetensors\.index\.fp16\.json/,
  ],
  [
    "a missing part",
    "transformer",
    () => {
      write(
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        '{"weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}}',
      );
      rmSync(at(TRANSFORMER));
    },
    /00001-of-00001\.safetensors: the file is missing.*; fetch/,
  ],
  [
    "an index of nothing",
    "transformer",
    () => {
      write("transformer/diffusion_pytorch_model.safetensors.index.json", '{"weight_map": {}}');
      rmSync(at(TRANSFORMER));
    },
    /names no tensors; fetch/,
  ],
  [
    "a folder as weights",
    VQVAE,
    () => {
      rmSync(at(VQVAE));
      mkdirSync(at(VQVAE));
    },
    /is a folder, not a file; replace/,
  ],
  [
    "a folder as config",
    "scheduler/scheduler_config.json",
    () => {
      rmSync(at("scheduler/scheduler_config.json"));
      mkdirSync(at("scheduler/scheduler_config.json"));
    },
    /is a folder, not a file; replace/,
  ],
  ["a file as folder", "vqvae", () => write("vqvae", "x"), /its parent is not a folder; fetch/],
  [
    "a dangling link",
    VQVAE,
    () => link("blobs/gone", VQVAE),
    /is missing, or is a link to a missing file; fetch/,
  ],
  [
    "a link to itself",
    MERGES,
    () => link("merges.txt", MERGES),
    /is a link that leads back to itself; replace/,
  ],
  [
    "a link to a device",
    "generation_config.json",
    () => link("/dev/zero", "generation_config.json"),
    /is a link that leads out of .*, to \/dev\/zero; replace/,
  ],
  [
    "a link out of the folder",
    "transformer",
    () => link(join(TINY_CHECKPOINT, "transformer"), "transformer"),
    /is a link that leads out of the checkpoint's folder.*; replace/,
  ],
  [
    "a huge config",
    "transformer/config.json",
    () => appendFileSync(at("transformer/config.json"), " ".repeat(2 ** 21)),
    /has \d+ bytes; the limit is 1048576; fetch/,
  ],
  [
    "30 million layers",
    "text_encoder/config.json",
    () => edit("text_encoder/config.json", { num_hidden_layers: 3e7 }),
    /num_hidden_layers: .*256, found 30000000; correct/,
  ],
  [
    "100 million layers",
    "transformer/config.json",
    () => edit("transformer/config.json", { num_layers: 1e8 }),
    /num_layers: .*256, found 100000000; correct/,
  ],
  [
    "a huge picture",
    "transformer/config.json",
    () => edit("transformer/config.json", { sample_size: 1e6 }),
    /sample_size: .*64, found 1000000; correct/,
  ],
  [
    "nested values",
    "vqvae/config.json",
    () => write("vqvae/config.json", `{"latent_channels": ${"[".repeat(2e5)}${"]".repeat(2e5)}}`),
    /vqvae\/config\.json: .*; (?:correct|fetch)/,
  ],
  [
    "another model's config",
    "vqvae/config.json",
    () => edit("vqvae/config.json", { latent_channels: 8 }),
    /the config implies .*; take config and weights from the same model/,
  ],
  [
    "components that disagree",
    "transformer/config.json",
    () => edit("transformer/config.json", { cross_attention_dim: 32 }),
    /the other components imply 24; take all components/,
  ],
  [
    "another pipeline",
    "model_index.json",
    () => edit("model_index.json", { _class_name: "StableDiffusionPipeline" }),
    /expected one of "VQDiffusionPipeline".*; correct/,
  ],
  [
    "no table of merges",
    MERGES,
    () => rmSync(at(MERGES)),
    /is missing, and there is no tokenizer\.json; fetch either/,
  ],
  [
    "merges without the first",
    MERGES,
    () => write(MERGES, text(MERGES).replace("\ni n\n", "\n")),
    /merge \d+, "in .*, joins a symbol that no merge produces; fetch/,
  ],
  [
    "the first half of the merges",
    MERGES,
    () => write(MERGES, `${text(MERGES).split("\n").slice(0, 24_000).join("\n")}\n`),
    /no merge produces ".*<\/w>", which has id \d+; fetch/,
  ],
  [
    "the first half of the merges, without a list of ids,",
    MERGES,
    () => {
      rmSync(at(VOCAB));
      write(MERGES, `${text(MERGES).split("\n").slice(0, 24_000).join("\n")}\n`);
    },
    /give 24513 ids, but .*vocab_size is 49408; fetch the file again, and vocab\.json/,
  ],
  [
    "a line that is no merge",
    MERGES,
    () => appendFileSync(at(MERGES), "one two three\n"),
    /line \d+ is not two symbols.*; fetch/,
  ],
  [
    "merges and vocabulary of two models",
    VOCAB,
    () => write(VOCAB, '{"a": 0, "b": 1}'),
    /merge 1, "i n", does not join two known symbols; fetch/,
  ],
  [
    "ids with a gap",
    VOCAB,
    () => write(VOCAB, text(VOCAB).replace(":49407}", ":50000}")),
    /has id 50000 of 49408 symbols; fetch/,
  ],
  [
    "two symbols of one id",
    VOCAB,
    () => write(VOCAB, text(VOCAB).replace('":49407}', '":49406}')),
    /have the same id 49406; fetch/,
  ],
  [
    "added tokens beyond the encoder",
    "tokenizer/added_tokens.json",
    () => write("tokenizer/added_tokens.json", '{"<cat-toy>": 49408}'),
    /"<cat-toy>" has id 49408, but the text encoder's vocab_size is 49408; take/,
  ],
  [
    "added tokens with a gap",
    "tokenizer/added_tokens.json",
    () => write("tokenizer/added_tokens.json", '{"<cat-toy>": 49410}'),
    /has id 49410, but the vocabulary .* imply 49408; number/,
  ],
  [
    "an endless added token",
    "tokenizer/added_tokens.json",
    () => {
      write("tokenizer/added_tokens.json", JSON.stringify({ ["x".repeat(300)]: 49408 }));
      edit("text_encoder/config.json", { vocab_size: 49_409 });
    },
    /addedTokens: \d+: content: Too big.*; correct/,
  ],
  [
    "padding on the left",
    "tokenizer/tokenizer_config.json",
    () => edit("tokenizer/tokenizer_config.json", { padding_side: "left" }),
    /padding_side: .*; correct/,
  ],
  [
    "an old record of another model",
    "golden.json",
    () => cpSync(join(BUNDLED_MODEL, "golden.json"), at("golden.json")),
    /cases\.0 does not fit the model; remove it/,
  ],
];

describe("a damaged checkpoint", () => {
  it.each(DAMAGES)("with %s in place of %s", async (_, __, damage, said) => {
    const cacheDir = await temporaryFolder();
    damage();
    const { problems } = inspectCheckpoint(dir);
    expect(problems).toContainEqual(expect.stringMatching(said));
    for (const problem of problems) {
      expect(problem).toMatch(/^\/\S*checkpoint\/\S+: .+; .+/);
      // No raw errors of the system or the runtime.
      expect(problem).not.toMatch(/\bE[A-Z]{3,}\b|\[object|syscall|Error:|undefined/);
    }
    // Loading fails too, except for recorded steps, which are checked after it.
    if (existsSync(at("golden.json"))) return;
    const load = (): void => {
      const checkpoint = new DiffusersCheckpoint(dir);
      ensureGraphs(checkpoint, checkpoint.version(), { cacheDir, form: graphForm("cpu", "none") });
    };
    expect(load).toThrow(CheckpointError);
  });

  it("is reported without the control characters in its files", async () => {
    edit("model_index.json", { _class_name: "\u001b[2J\u009b31m\u202egnp.exe" });
    const { code, stdout } = await vqd("inspect", dir);
    expect(code).toBe(1);
    // oxlint-disable-next-line no-control-regex -- checks for their absence
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(stdout).toMatch(/model_index\.json: _class_name: .*\n$/);
  });
});

describe("the version of a checkpoint stays the same", () => {
  it.each<[string, () => void]>([
    ["with a folder named like a weight file", () => mkdirSync(at("transformer/old.bin"))],
    ["with other weight files", () => write("vqvae/backup.safetensors", "x")],
    ["with a dangling link", () => symlinkSync("/nowhere", at("vqvae/note.json"))],
    [
      "with files of other programs",
      () => {
        for (const name of [
          ".DS_Store",
          "notes.txt",
          "vqvae/optimizer.bin",
          "tokenizer/chat_template.json",
          "._model_index.json",
        ])
          write(name, "x");
        mkdirSync(at(".cache"));
      },
    ],
    ["with other folders", () => mkdirSync(at("feature_extractor"))],
  ])("%s", (_, change) => {
    const version = new DiffusersCheckpoint(dir).version();
    change();
    expect(inspectCheckpoint(dir).problems).toEqual([]);
    expect(new DiffusersCheckpoint(dir).version()).toBe(version);
  });

  it("behind a link and in the Hugging Face cache", async () => {
    const version = new DiffusersCheckpoint(dir).version();
    const cache = join(await temporaryFolder(), "models--owner--name");
    const snapshot = join(cache, "snapshots", "c0ffee");
    mkdirSync(join(cache, "blobs"), { recursive: true });
    mkdirSync(snapshot, { recursive: true });
    cpSync(dir, snapshot, { recursive: true });
    renameSync(join(snapshot, VQVAE), join(cache, "blobs", "ab12"));
    symlinkSync("../../../blobs/ab12", join(snapshot, VQVAE));
    const linked = join(await temporaryFolder(), "linked");
    symlinkSync(snapshot, linked);
    for (const place of [snapshot, linked]) {
      expect(inspectCheckpoint(place).problems).toEqual([]);
      expect(new DiffusersCheckpoint(place).version()).toBe(version);
    }
  });
});

describe("the hash of a vocabulary does not depend on", () => {
  const nameOf = (): string => {
    expect(inspectCheckpoint(dir).problems).toEqual([]);
    return new DiffusersCheckpoint(dir).tokenizer.vocabularySha256;
  };

  it.each<[string, (merges: string) => string]>([
    ["Windows line endings", (merges) => merges.replaceAll("\n", "\r\n")],
    ["the comment", (merges) => merges.replace(/^#.*/, "# merges of CLIP, see the paper")],
    ["whether there is a comment", (merges) => merges.replace(/^#.*\n/, "")],
    ["a byte order mark", (merges) => `\uFEFF${merges}`],
    ["the last line ending", (merges) => merges.trimEnd()],
  ])("%s", (_, change) => {
    const name = nameOf();
    write(MERGES, change(text(MERGES)));
    expect(nameOf()).toBe(name);
  });
});
