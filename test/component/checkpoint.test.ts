// Checkpoint files: what is damaged, incomplete or of another kind is refused by name, and never crashes the reader.

import { cp, mkdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  array,
  assert,
  asyncProperty,
  constant,
  constantFrom,
  dictionary,
  double,
  integer,
  jsonValue,
  maxSafeNat,
  nat,
  oneof,
  record,
  string,
  tuple,
} from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../../gpu-worker/checkpoint/errors.ts";
import { SafetensorsFile } from "../../gpu-worker/checkpoint/weights/safetensors.ts";
import { fromFloat32 } from "../../gpu-worker/checkpoint/weights/tensor.ts";
import { ensureGraphs } from "../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../gpu-worker/graph/form.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

describe("a safetensors file", () => {
  let path: string;
  beforeEach(async () => {
    path = join(await temporaryFolder(), "x.safetensors");
  });

  /** `header` as it is if it is text or bytes, else as JSON; `claimed` bytes of it, as the file says. */
  async function write(header: unknown, data = new Uint8Array(), claimed?: bigint): Promise<void> {
    const text = typeof header === "string" ? header : JSON.stringify(header);
    const json = header instanceof Uint8Array ? header : new TextEncoder().encode(text);
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true);
    await writeFile(path, Buffer.concat([length, json, data]));
  }

  function read(name: string): number[] {
    const file = SafetensorsFile.open(path);
    try {
      return [...file.read(name)];
    } finally {
      file.close();
    }
  }

  it("gives fp32, fp16 and bf16 as fp32, special values included", async () => {
    const f16 = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x8000, 0x7c00, 0x7e00);
    const bf16 = Uint16Array.of(0x3f80, 0xc000, 0x7f80, 0x0001);
    const f32 = Float32Array.of(1.5, -3e38);
    const header = {
      __metadata__: { format: "pt" },
      half: { dtype: "F16", shape: [2, 4], data_offsets: [0, 16] },
      brain: { dtype: "BF16", shape: [4], data_offsets: [16, 24] },
      float: { dtype: "F32", shape: [2, 1], data_offsets: [24, 32] },
      scalar: { dtype: "F32", shape: [], data_offsets: [28, 32] },
      empty: { dtype: "F32", shape: [0, 7], data_offsets: [32, 32] },
    };
    const data = Buffer.concat([f16, bf16, f32].map((values) => Buffer.from(values.buffer)));
    await write({ ...header, scalar: undefined }, data);
    expect(read("half")).toEqual([1, -2, 65504, 2 ** -24, 1023 * 2 ** -24, -0, Infinity, Number.NaN]);
    expect(read("brain")).toEqual([1, -2, Infinity, 2 ** -133]);
    expect(read("float")).toEqual([1.5, Math.fround(-3e38)]);
    expect(read("empty")).toEqual([]);
    expect(() => read("nothing")).toThrow("tensor nothing is missing");
    await write(header, data);
    expect(() => read("float")).toThrow(/tensors float and scalar overlap/);
  });

  const entry = { dtype: "F32", shape: [1], data_offsets: [0, 4] };
  it.each<[string, unknown, RegExp]>([
    ["is not JSON", "{", /header is not JSON/],
    ["is not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), /header is not JSON/],
    ["nests deeply", "[".repeat(100_000), /header is not JSON/],
    ["is a list", [], /not a JSON object/],
    ["has an entry that is no object", { a: 1 }, /tensor a: its header entry is not an object/],
    ["has an unknown dtype", { a: { ...entry, dtype: "F8" } }, /tensor a: dtype F8 is not supported/],
    ["has a dtype of JavaScript's own", { a: { ...entry, dtype: "toString" } }, /dtype toString is not/],
    ["has a negative size", { a: { ...entry, shape: [-1] } }, /shape is not a list of sizes/],
    ["has a fraction of a size", { a: { ...entry, shape: [0.5] } }, /shape is not a list of sizes/],
    ["has a shape that is no list", { a: { ...entry, shape: 4 } }, /shape is not a list of sizes/],
    ["has a huge shape", { a: { ...entry, shape: [2 ** 40, 2 ** 40] } }, /takes .* bytes, not 4/],
    ["has a shape beyond all numbers", { a: { ...entry, shape: new Array(80).fill(2 ** 52) } }, /takes/],
    ["has a size of another shape", { a: { ...entry, shape: [2] } }, /takes 8 bytes, not 4/],
    ["has no offsets", { a: { dtype: "F32", shape: [1] } }, /data_offsets are not two positions/],
    ["has one offset", { a: { ...entry, data_offsets: [0] } }, /data_offsets are not two positions/],
    ["has its offsets swapped", { a: { ...entry, data_offsets: [4, 0] } }, /lies outside of the file/],
    ["points behind the file", { a: { ...entry, data_offsets: [8, 12] } }, /lies outside of the file/],
    ["points far away", { a: { ...entry, data_offsets: [2 ** 52, 2 ** 52 + 4] } }, /lies outside/],
    ["has overlapping tensors", { a: entry, b: entry }, /tensors a and b overlap/],
  ])("is refused when its header %s", async (_, header, message) => {
    await write(header, new Uint8Array(8));
    expect(() => SafetensorsFile.open(path)).toThrow(message);
    expect(() => SafetensorsFile.open(path)).toThrow(CheckpointError);
    expect(() => SafetensorsFile.open(path)).toThrow(path);
  });

  it.each([5n, 2n ** 31n, 2n ** 63n, 2n ** 64n - 1n])(
    "is refused when it claims %d bytes of header",
    async (n) => {
      await write("{}", new Uint8Array(), n);
      expect(() => SafetensorsFile.open(path)).toThrow(/the header claims/);
    },
  );

  it.each([0, 7])("is refused when it has %d bytes", async (length) => {
    await writeFile(path, new Uint8Array(length));
    expect(() => SafetensorsFile.open(path)).toThrow(/too short/);
  });

  it("is read or refused by a CheckpointError, whatever bytes are changed in it", async () => {
    await write({ a: entry, b: { ...entry, data_offsets: [4, 8] } }, new Uint8Array(8));
    const original = await readFile(path);
    const changes = array(tuple(nat(original.length - 1), integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    await assert(
      asyncProperty(changes, nat(original.length), async (edits, length) => {
        const bytes = Uint8Array.from(original);
        for (const [at, value] of edits) bytes[at] = value;
        await writeFile(path, bytes.subarray(0, edits.length % 2 === 0 ? length : undefined));
        try {
          const file = SafetensorsFile.open(path);
          try {
            for (const name of file.entries.keys()) file.read(name);
          } finally {
            file.close();
          }
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("weights that are written", () => {
  it("in fp16 and bf16 are rounded to the nearest, ties to even, and stay NaN or infinite", () => {
    const write = (dtype: "F16" | "BF16", ...values: number[]): number[] => [
      ...new Uint16Array(fromFloat32(Float32Array.from(values), dtype).buffer),
    ];
    const special = [0, -0, Infinity, -Infinity];
    expect(write("F16", ...special)).toEqual([0, 0x8000, 0x7c00, 0xfc00]);
    expect(write("BF16", ...special)).toEqual([0, 0x8000, 0x7f80, 0xff80]);
    expect(write("F16", 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65_519, 65_520)).toEqual([
      0x3c00, 0x3c02, 0x7bff, 0x7c00,
    ]);
    expect(write("BF16", 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20)).toEqual([
      0x3f80, 0x3f82, 0x3f81,
    ]);
    // The NaN whose rounding would carry into infinity's bits.
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xffffffff).buffer);
    const [quiet = 0, full = 0] = new Uint16Array(fromFloat32(nan, "BF16").buffer);
    expect([quiet, full]).toEqual([0x7fc0, 0xffff]);
  });
});

describe("the header of a safetensors file", () => {
  const size = oneof(integer({ min: -1, max: 4 }), maxSafeNat(), double(), constant("1"), constant(null));
  const entry = oneof(
    record(
      {
        dtype: oneof(
          constantFrom("F64", "F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3"),
          string(),
          integer(),
        ),
        shape: oneof(array(size, { maxLength: 5 }), jsonValue()),
        data_offsets: oneof(array(size, { minLength: 1, maxLength: 3 }), jsonValue()),
      },
      { requiredKeys: [] },
    ),
    // What is right in itself, so that some files are read.
    nat(3).map((at) => ({ dtype: "F32", shape: [1], data_offsets: [4 * at, 4 * at + 4] })),
    jsonValue(),
  );
  const header = oneof(
    {
      weight: 9,
      arbitrary: dictionary(oneof(string(), constantFrom("__metadata__", "__proto__", "a")), entry),
    },
    { weight: 1, arbitrary: jsonValue() },
  );

  it("is read or refused by a CheckpointError, whatever it says", async () => {
    const path = join(await temporaryFolder(), "x.safetensors");
    let read = 0;
    await assert(
      asyncProperty(header, oneof(constant(undefined), maxSafeNat()), async (value, claimed) => {
        const json = Buffer.from(JSON.stringify(value));
        const length = Buffer.alloc(8);
        length.writeBigUInt64LE(BigInt(claimed ?? json.length));
        await writeFile(path, Buffer.concat([length, json, new Uint8Array(16)]));
        try {
          const file = SafetensorsFile.open(path);
          try {
            let total = 0;
            for (const name of file.entries.keys()) total += file.read(name).length;
            // 16 bytes of data, no byte of two tensors, and at least 2 bytes to a value.
            expect(total).toBeLessThanOrEqual(8);
            read += total;
          } finally {
            file.close();
          }
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
          expect((error as Error).message.startsWith(`${path}: `)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
    expect(read).toBeGreaterThan(0);
  });
});

describe("a checkpoint folder", () => {
  let dir: string;
  let cacheDir: string;
  beforeEach(async () => {
    const folder = await temporaryFolder();
    dir = join(folder, "checkpoint");
    cacheDir = join(folder, "cache");
    await cp(TINY_CHECKPOINT, dir, { recursive: true });
  });

  /** Changes a config file. */
  async function edit(file: string, change: Record<string, unknown>): Promise<void> {
    const path = join(dir, file);
    const json = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    await writeFile(path, JSON.stringify({ ...json, ...change }));
  }
  const open = (): string => {
    const checkpoint = new DiffusersCheckpoint(dir);
    return ensureGraphs(checkpoint, checkpoint.version(), { cacheDir, form: graphForm("cpu", "none") });
  };

  it("that is not there is named", () => {
    expect(() => new DiffusersCheckpoint("/no/such/folder")).toThrow("/no/such/folder: no such folder");
  });

  it.each([
    "model_index.json",
    "transformer/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "vqvae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
  ])("without %s is refused by that name", async (file) => {
    await rm(join(dir, file));
    expect(open).toThrow(join(dir, file));
    expect(open).toThrow(/missing/);
  });

  it("may say its own guidance, which is part of its version", async () => {
    const plain = new DiffusersCheckpoint(dir);
    expect(plain.defaultGuidanceScale).toBe(5);
    const plainVersion = plain.version();
    const path = join(dir, "generation_config.json");
    await writeFile(path, JSON.stringify({ guidance_scale: 1.5, max_length: 20 }));
    const own = new DiffusersCheckpoint(dir);
    expect(own.defaultGuidanceScale).toBe(1.5);
    expect(own.version()).not.toBe(plainVersion);
    for (const guidance_scale of [0.5, 21, "5", null]) {
      await writeFile(path, JSON.stringify({ guidance_scale }));
      expect(() => new DiffusersCheckpoint(dir)).toThrow(/generation_config\.json: guidance_scale/);
    }
    await rm(path);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["model_index.json", { _class_name: "StableDiffusionPipeline" }, /_class_name/],
    ["transformer/config.json", { activation_fn: "gelu" }, /activation_fn/],
    ["transformer/config.json", { num_layers: "two" }, /num_layers/],
    ["transformer/config.json", { num_vector_embeds: 99 }, /num_vector_embeds is 99, .* imply 129/],
    ["vqvae/config.json", { norm_type: "spatial" }, /norm_type/],
    ["vqvae/config.json", { up_block_types: ["Other"] }, /up_block_types/],
    ["scheduler/scheduler_config.json", { num_train_timesteps: 1000 }, /num_train_timesteps is 1000/],
    [
      "transformer/config.json",
      { attention_head_dim: 3 },
      /diffusion_pytorch_model\.safetensors: tensor \S+ has shape \[[\d, ]+\], the config implies \[[\d, ]+\]/,
    ],
    ["transformer/config.json", { num_layers: 3 }, /tensor transformer_blocks\.2\.\S+ is missing/],
  ])("whose %s says %j is refused", async (file, change, message) => {
    await edit(file, change);
    expect(open).toThrow(message);
    expect(open).toThrow(CheckpointError);
  });

  it("with a cut weight file is refused by name, and leaves no half-built graphs", async () => {
    const path = join(dir, "vqvae", "diffusion_pytorch_model.safetensors");
    await truncate(path, (await stat(path)).size - 4);
    expect(open).toThrow(path);
    expect(open).toThrow(/lies outside of the file/);
  });

  it("keeps its version when a README or a downloader's notes come, and changes it with its weights", async () => {
    const version = (): string => new DiffusersCheckpoint(dir).version();
    const before = version();
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    await writeFile(join(dir, "README.md"), "hello");
    await mkdir(join(dir, ".cache"));
    await writeFile(join(dir, ".cache", "notes.json"), "{}");
    expect(version()).toBe(before);
    await edit("scheduler/scheduler_config.json", { gamma_cum_end: 0.5 });
    expect(version()).not.toBe(before);
  });
});
