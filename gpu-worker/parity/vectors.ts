// A set of recorded vectors: `NAME.json`, which describes them, beside `NAME.safetensors`, which holds them.

import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { inferSpeedSchema } from "@vqd/shared/sampling/original.ts";
import { CheckpointError } from "../checkpoint/errors.ts";
import { SafetensorsFile } from "../checkpoint/weights/safetensors.ts";

const count = z.int().min(1);

const runSchema = z.object({
  prompts: z.array(z.string()).min(1),
  num_inference_steps: count,
  num_train_timesteps: count,
  guidance_scale: z.number(),
  truncation_rate: z.number(),
  num_images_per_prompt: count,
  /** Timesteps left out after each step, in runs of the original's fast inference. */
  skip: z.int().min(0).default(0),
  /** Of runs of the original's purity sampling. */
  purity: z
    .object({
      prior_rule: z.literal([1, 2]),
      prior_weight: z.number().min(0),
      infer_speed: inferSpeedSchema.default(1),
      /** Tokens that each timestep unmasks, if it is not the original's own table; in `passes` of at most so many. */
      tokens_per_timestep: z.array(z.int().min(0)).optional(),
      /** Where the numbers are that choose pixels: each image of a step takes the next `stride`. */
      select: z.object({ bank: z.string(), offset: z.int().min(0), stride: z.int().min(0) }),
    })
    .optional(),
  /** Tokens that every step leaves as they are in the first latents: the first so many. */
  held: z.int().min(0).default(0),
  /** "all masked", or the tensor with the first tokens. */
  latents: z.string(),
  /** Where the uniform numbers are: in a bank shared by several runs, or in `run.<name>.uniform` and `uniform_last`. */
  noise: z.union([
    z.string(),
    z.object({
      bank: z.string(),
      offset: z.int().min(0),
      stride: z.int().min(0),
      /** Whether the last step has a row for the mask like the others, as in the original code base. */
      mask_row_at_end: z.boolean().default(false),
    }),
  ]),
});
export type RunDescription = z.infer<typeof runSchema>;

const tensorSchema = z.object({ inputs: z.record(z.string(), z.unknown()).default({}) });

const descriptionSchema = z.object({
  prompts: z.array(z.object({ name: z.string(), text: z.string() })).default([]),
  runs: z.record(z.string(), runSchema).default({}),
  tensors: z.record(z.string(), tensorSchema).default({}),
});

export interface Vector {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: Float32Array | Int32Array | Uint8Array;
}

const ARRAYS = { F32: Float32Array, I32: Int32Array, U8: Uint8Array, BOOL: Uint8Array } as const;

export class VectorSet {
  readonly path: string;
  readonly runs: Readonly<Record<string, RunDescription>>;
  readonly #prompts: ReadonlyMap<string, string>;
  readonly #inputs: Readonly<Record<string, { inputs: Record<string, unknown> }>>;
  readonly #entries: SafetensorsFile["entries"];
  readonly #bytes: Buffer;
  readonly #descriptionPath: string;

  /** `path` is either of the two files. Throws a CheckpointError that names the file and what is wrong with it. */
  constructor(path: string) {
    const stem = path.replace(/\.(json|safetensors)$/, "");
    const jsonPath = `${stem}.json`;
    this.path = `${stem}.safetensors`;
    this.#descriptionPath = jsonPath;
    for (const needed of [jsonPath, this.path]) {
      if (!existsSync(needed)) throw new CheckpointError(needed, "the file is missing");
    }
    const description = readDescription(jsonPath);
    this.#prompts = new Map(description.prompts.map(({ name, text }) => [name, text]));
    this.runs = description.runs;
    this.#inputs = description.tensors;
    const file = SafetensorsFile.open(this.path);
    this.#entries = file.entries;
    file.close();
    this.#bytes = readFileSync(this.path);
  }

  /** Names of all tensors. */
  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /** The text of the prompt called `name`. Throws a CheckpointError if there is none. */
  prompt(name: string): string {
    const text = this.#prompts.get(name);
    if (text !== undefined) return text;
    throw new CheckpointError(this.#descriptionPath, `has no prompt ${JSON.stringify(name)}`);
  }

  has(...names: string[]): boolean {
    return names.every((name) => this.#entries.has(name));
  }

  /**
   * A tensor or, with indices ("transformer.logp[1, 1]" or as arguments), a part of it. Throws a CheckpointError if it
   * does not exist.
   */
  get(reference: string, ...indices: number[]): Vector {
    const [, name = "", list = ""] = /^([^[\]]+)(?:\[([\d, ]+)\])?$/.exec(reference) ?? [];
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new CheckpointError(this.path, `tensor ${reference} is missing`);
    const type = ARRAYS[entry.dtype as keyof typeof ARRAYS];
    if (type === undefined) {
      throw new CheckpointError(this.path, `tensor ${name}: dtype ${entry.dtype} is not supported here`);
    }
    const all = [...(list === "" ? [] : list.split(",").map(Number)), ...indices];
    let begin = 0;
    let size = entry.shape.reduce((product, length) => product * length, 1);
    for (const [axis, index] of all.entries()) {
      const length = entry.shape[axis] ?? 0;
      if (!(index < length)) {
        throw new CheckpointError(
          this.path,
          `tensor ${name} of shape [${entry.shape.join(", ")}] has no part [${all.join(", ")}]`,
        );
      }
      size /= length;
      begin += index * size;
    }
    // A copy, so that it is aligned whatever its offset in the file.
    const bytes = type.BYTES_PER_ELEMENT;
    const from = entry.begin + begin * bytes;
    const copy = new Uint8Array(this.#bytes.subarray(from, from + size * bytes)).buffer;
    return { shape: entry.shape.slice(all.length), data: new type(copy) };
  }

  /** What the description gives as an input of a tensor, parsed by `schema`. */
  input<T>(tensor: string, name: string, schema: z.ZodType<T>): T {
    const parsed = schema.safeParse(this.#inputs[tensor]?.inputs[name]);
    if (parsed.success) return parsed.data;
    throw new CheckpointError(
      this.#descriptionPath,
      `tensors["${tensor}"].inputs.${name}: ${parsed.error.issues[0]?.message ?? "not readable"}`,
      { cause: parsed.error },
    );
  }
}

function readDescription(path: string): z.infer<typeof descriptionSchema> {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new CheckpointError(path, "not a JSON file", { cause });
  }
  const parsed = descriptionSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CheckpointError(path, `${issue?.path.join(".")}: ${issue?.message}`, { cause: parsed.error });
}
