// One pass of a transformer that draws on the device: token ids go in, token ids come out.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { DiffusersCheckpoint } from "../../checkpoint/diffusers-layout.ts";
import { graphPath } from "../../graph/cache.ts";
import { type Setting, SETTINGS } from "../../graph/draw.ts";
import {
  boolTensor,
  byteLength,
  floatData,
  floatTensor,
  int32Data,
  int32Tensor,
  Session,
  type SessionOptions,
  type Tensor,
} from "../../runtime/session.ts";
import type { PromptConditioning } from "../conditioning/prompt-conditioning.ts";
import {
  evaluatedOf,
  imagesOf,
  OutputBuffer,
  type PassImage,
  type PassResult,
  type PassRow,
  placesOf,
} from "../transformer-pass.ts";
import type { PixelUniforms } from "../sampling/random.ts";

/** One image's part in a pass. */
export interface DrawRequest extends PassImage {
  readonly prompt: PromptConditioning;
  /** If the image is guided. */
  readonly negative: PromptConditioning | undefined;
  /** Positions of the pixels to draw. */
  readonly evaluated: readonly number[];
  readonly uniformsOf: (position: number) => PixelUniforms;
  readonly settings: Readonly<Record<Setting, number>>;
}

/** Of the evaluated pixels, in their order; see the outputs of `drawClasses`. */
export interface DrawnPixels {
  readonly classes: Int32Array;
  readonly certainty: Float32Array;
  readonly purity: Float32Array;
  /** If it was asked for. */
  readonly mostLikely: Int32Array | undefined;
}

/** Bytes that a pass has moved to the device and back. */
export interface Transfer {
  readonly inputs: number;
  readonly outputs: number;
}

interface Shape {
  readonly pixels: number;
  readonly classes: number;
  readonly textLength: number;
  /** Prompts that the graph has itself: the learned unconditional one. */
  readonly ownPrompts: number;
}

export class DevicePass {
  readonly #session: Session;
  readonly #shape: Shape;
  #transfer: Transfer = { inputs: 0, outputs: 0 };

  private constructor(session: Session, shape: Shape) {
    this.#session = session;
    this.#shape = shape;
  }

  static async load(
    { transformer, text }: DiffusersCheckpoint,
    graphs: string,
    options: SessionOptions,
  ): Promise<DevicePass> {
    return new DevicePass(await Session.create(graphPath(graphs, "transformer"), options), {
      pixels: transformer.sample_size ** 2,
      classes: transformer.num_vector_embeds - 1,
      textLength: text.tokenizer.maxLength,
      ownPrompts: text.learnableUnconditional ? 1 : 0,
    });
  }

  /** Of the last pass. */
  get transfer(): Transfer {
    return this.#transfer;
  }

  /** Log-probabilities, as `TransformerPass.run`: for whoever needs the distributions themselves. */
  async run(
    images: readonly PassImage[],
    rows: readonly PassRow[],
    output = new OutputBuffer(),
  ): Promise<PassResult> {
    if (rows.length === 0) return { logProbs: new Float32Array(0), rowSize: 0 };
    const { pixels, classes } = this.#shape;
    const count = placesOf(rows, pixels);
    const rowSize = count * classes;
    const logProbs = output.ofSize(rows.length * rowSize);
    const { used, places } = imagesOf(rows, images);
    const usedRows = rows.map((row, i) => ({ ...row, image: places[i] ?? outOfBounds() }));
    // The graph draws in any case; without settings, from all classes alike.
    const idle = Object.fromEntries(SETTINGS.map((name) => [name, 0])) as Record<Setting, number>;
    const draws = used.map((image, i) => {
      const own = places.indexOf(i);
      const request = {
        ...image,
        evaluated: [],
        settings: idle,
        uniformsOf: () => ({ change: 0, choice: 0 }),
      };
      return { request, conditional: own, unconditional: own };
    });
    const into = floatTensor(logProbs, [rows.length, count, classes]);
    const feeds = { ...this.#rowFeeds(used, usedRows, count), ...this.#drawFeeds(draws, count) };
    await this.#session.runAll(feeds, ["log_probs"], into);
    return { logProbs, rowSize };
  }

  /** Draws the requested pixels of each image. Throws if the model's output is NaN. */
  async draw(requests: readonly DrawRequest[], isPreviewed: boolean): Promise<DrawnPixels[]> {
    if (requests.length === 0) return [];
    const rows: PassRow[] = [];
    const draws = requests.map((request, image): ImageDraw => {
      const { prompt, negative, evaluated } = request;
      const unconditional = rows.length;
      if (negative !== undefined) rows.push({ image, prompt: negative, evaluated });
      const conditional = rows.length;
      rows.push({ image, prompt, evaluated });
      return { request, conditional, unconditional };
    });
    const count = placesOf(rows, this.#shape.pixels);
    const feeds = { ...this.#rowFeeds(requests, rows, count), ...this.#drawFeeds(draws, count) };
    const names = [
      "classes",
      "certainty",
      "purity",
      ...(isPreviewed ? (["most_likely"] as const) : []),
    ] as const;
    const made = await this.#session.runAll(feeds, names);
    this.#transfer = { inputs: bytesOf(Object.values(feeds)), outputs: bytesOf(Object.values(made)) };
    const ints = (name: string): Int32Array => int32Data(made[name] ?? outOfBounds());
    const floats = (name: string): Float32Array => floatData(made[name] ?? outOfBounds());
    const [classes, certainty, purity] = [ints("classes"), floats("certainty"), floats("purity")];
    const mostLikely = isPreviewed ? ints("most_likely") : undefined;
    return requests.map(({ evaluated }, image) => {
      const [from, to] = [image * count, image * count + evaluated.length];
      // A broken weight or provider affects whole rows; a class drawn from NaN would look like any other.
      if (Number.isNaN(purity[from])) throw new Error("the transformer's output is NaN");
      return {
        classes: classes.subarray(from, to),
        certainty: certainty.subarray(from, to),
        purity: purity.subarray(from, to),
        mostLikely: mostLikely?.subarray(from, to),
      };
    });
  }

  release(): Promise<void> {
    return this.#session.release();
  }

  #rowFeeds(
    images: readonly PassImage[],
    rows: readonly PassRow[],
    count: number,
  ): Readonly<Record<string, Tensor>> {
    const { pixels, textLength, ownPrompts } = this.#shape;
    const prompts = [...new Set(rows.map(({ prompt }) => prompt))].filter(({ ids }) => ids !== undefined);
    const promptIds = new Int32Array(Math.max(prompts.length, 1) * textLength);
    for (const [i, { ids }] of prompts.entries()) promptIds.set(ids ?? outOfBounds(), i * textLength);
    const placeOf = (prompt: PromptConditioning): number =>
      prompt.ids === undefined ? 0 : ownPrompts + prompts.indexOf(prompt);
    const tokens = new Int32Array(images.length * pixels);
    for (const [i, image] of images.entries()) tokens.set(image.tokens, i * pixels);
    return {
      tokens: int32Tensor(tokens, [images.length, pixels]),
      timestep: vector(images.map(({ timestep }) => timestep)),
      image: vector(rows.map(({ image }) => image)),
      prompt_ids: int32Tensor(promptIds, [promptIds.length / textLength, textLength]),
      prompt: vector(rows.map(({ prompt }) => placeOf(prompt))),
      asked: int32Tensor(evaluatedOf(rows, pixels, count), [rows.length, count]),
    };
  }

  #drawFeeds(draws: readonly ImageDraw[], count: number): Readonly<Record<string, Tensor>> {
    const size = draws.length * count;
    const current = new Int32Array(size);
    const change = new Float32Array(size);
    const choice = new Float32Array(size);
    const settings = new Float32Array(draws.length * SETTINGS.length);
    for (const [image, { request }] of draws.entries()) {
      const { tokens, evaluated, uniformsOf } = request;
      for (const [i, position] of evaluated.entries()) {
        const uniforms = uniformsOf(position);
        current[image * count + i] = tokens[position] ?? outOfBounds();
        change[image * count + i] = uniforms.change;
        choice[image * count + i] = uniforms.choice;
      }
      settings.set(
        SETTINGS.map((name) => request.settings[name]),
        image * SETTINGS.length,
      );
    }
    return {
      conditional: vector(draws.map(({ conditional }) => conditional)),
      unconditional: vector(draws.map(({ unconditional }) => unconditional)),
      current: int32Tensor(current, [draws.length, count]),
      change: floatTensor(change, [draws.length, count]),
      choice: floatTensor(choice, [draws.length, count]),
      settings: floatTensor(settings, [draws.length, SETTINGS.length]),
      truncates: boolTensor(draws.some(({ request }) => isTruncated(request.settings))),
    };
  }
}

interface ImageDraw {
  readonly request: Pick<DrawRequest, "tokens" | "evaluated" | "uniformsOf" | "settings">;
  /** The image's rows. */
  readonly conditional: number;
  readonly unconditional: number;
}

const vector = (values: readonly number[]): Tensor => int32Tensor(Int32Array.from(values), [values.length]);

/** The rate is 2 for an image that is not truncated, and 0 where nothing is drawn. */
const isTruncated = ({ truncation }: DrawRequest["settings"]): boolean => truncation > 0 && truncation < 1;

const bytesOf = (tensors: readonly (Tensor | undefined)[]): number =>
  tensors.reduce((sum, tensor) => sum + (tensor === undefined ? 0 : byteLength(tensor)), 0);
