// One pass of the transformer over rows of any images, computed by one session or divided between two.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { TransformerConfig } from "../checkpoint/config.ts";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import type { PromptParts } from "../checkpoint/parts.ts";
import { graphPath } from "../graph/cache.ts";
import { transformerWidth } from "../graph/cross-attention.ts";
import {
  floatTensor,
  intTensor,
  Session,
  type SessionOptions,
  sharedFloats,
  type Tensor,
} from "../runtime/session.ts";
import { allOrNone } from "./all-or-none.ts";
import type { PromptConditioning } from "./conditioning/prompt-conditioning.ts";

/** An image has one row in a pass, or two if it is guided. */
export interface PassRow {
  /** Index among the images of the pass. */
  readonly image: number;
  readonly prompt: PromptConditioning;
  /** Positions of the pixels to evaluate. */
  readonly evaluated: readonly number[];
}

export interface PassImage {
  /** x_t: class ids [L]. */
  readonly tokens: Uint16Array;
  readonly timestep: number;
}

/** log p(x_0 | x_t, y) of the pixels that each row evaluates, in the order of its `evaluated`; what follows them is padding. */
export interface PassResult {
  readonly logProbs: Float32Array;
  /** Distance from one row to the next: K numbers, the classes without the mask, for each place. */
  readonly rowSize: number;
}

/** The number of pixels to evaluate is rounded up to this fraction of all pixels, so that passes come in few sizes. */
const COUNT_SHARES = 16;
/** It is also a multiple of this, as the runtime multiplies a single row by different code, giving different bits. */
const COUNT_MULTIPLE = 8;

/** Places of each row of a pass over images of so many pixels: those of the row that evaluates most, rounded up. */
export function placesOf(rows: readonly PassRow[], pixels: number): number {
  const unit = COUNT_MULTIPLE * Math.ceil(pixels / COUNT_SHARES / COUNT_MULTIPLE);
  return unit * Math.ceil(Math.max(...rows.map(({ evaluated }) => evaluated.length)) / unit);
}

/** The images that have a row, and the place of each row's among them. */
export function imagesOf(
  rows: readonly PassRow[],
  images: readonly PassImage[],
): { used: readonly PassImage[]; places: readonly number[] } {
  const numbers = [...new Set(rows.map(({ image }) => image))];
  return {
    used: numbers.map((image) => images[image] ?? outOfBounds()),
    places: rows.map(({ image }) => numbers.indexOf(image)),
  };
}

/** The pixels that each row evaluates, as row x L + pixel, [rows, count]; padded with the row's first pixel. */
export function evaluatedOf(rows: readonly PassRow[], pixels: number, count: number): Int32Array {
  const evaluated = new Int32Array(rows.length * count);
  for (const [row, { evaluated: positions }] of rows.entries()) {
    evaluated.fill(row * pixels, row * count, (row + 1) * count);
    for (const [i, position] of positions.entries()) evaluated[row * count + i] = row * pixels + position;
  }
  return evaluated;
}

/**
 * Sessions that divide the rows of a pass among them, each with its share of the threads. The nodes of a small model are
 * too small to be divided well between threads, so computing two rows side by side is faster than one after the other: a
 * guided step of the bundled model takes about 0.85 of the time.
 */
const LANES = 2;
/**
 * Most values between layers per row for which lanes are used. With the 1,024 x 1,408 of the published model, lanes are
 * slower by a quarter (they compute twice what the two rows of an image share), and each has its own copy of the weights.
 */
const MAX_LANE_VALUES = 2 ** 18;

export class TransformerPass {
  readonly #whole: Lane;
  readonly #loadLanes: (() => Promise<Lane[]>) | undefined;
  /** Loaded by the first pass with several rows: a worker whose jobs are single rows never needs them. */
  #lanes: Promise<Lane[]> | undefined;
  readonly #shape: PassShape;

  private constructor(whole: Lane, loadLanes: (() => Promise<Lane[]>) | undefined, shape: PassShape) {
    this.#whole = whole;
    this.#loadLanes = loadLanes;
    this.#shape = shape;
  }

  static async load(
    { transformer, prompts }: DiffusersCheckpoint,
    graphs: string,
    options: SessionOptions,
  ): Promise<TransformerPass> {
    const path = graphPath(graphs, "transformer");
    const shape = {
      pixels: transformer.sample_size ** 2,
      classes: transformer.num_vector_embeds - 1,
      cross: conditioningShape(transformer, prompts),
    };
    const isDivided =
      options.provider === "cpu" &&
      options.threads >= LANES &&
      shape.pixels * transformerWidth(transformer) <= MAX_LANE_VALUES;
    const laneOptions = { ...options, threads: Math.floor(options.threads / LANES), ownThread: true };
    return new TransformerPass(
      new Lane(await Session.create(path, options), shape),
      isDivided ? () => loadAll(path, laneOptions, shape) : undefined,
      shape,
    );
  }

  /**
   * The rows of one image share the computation up to the first cross-attention. A pixel's results have the same bits
   * whatever else is evaluated, and in whichever session: see Denoiser.step.
   */
  async run(
    images: readonly PassImage[],
    rows: readonly PassRow[],
    output = new OutputBuffer(),
  ): Promise<PassResult> {
    if (rows.length === 0) return { logProbs: new Float32Array(0), rowSize: 0 };
    const count = placesOf(rows, this.#shape.pixels);
    const rowSize = count * this.#shape.classes;
    const logProbs = output.ofSize(rows.length * rowSize);
    const lanes = await this.#lanesFor(rows.length);
    await Promise.all(
      lanes.map((lane, i) => {
        const from = Math.round((i * rows.length) / lanes.length);
        const to = Math.round(((i + 1) * rows.length) / lanes.length);
        const into = logProbs.subarray(from * rowSize, to * rowSize);
        return lane.run(images, rows.slice(from, to), { count, into });
      }),
    );
    return { logProbs, rowSize };
  }

  async release(): Promise<void> {
    const lanes = (await this.#lanes) ?? [];
    await Promise.all([this.#whole, ...lanes].map((lane) => lane.release()));
  }

  async #lanesFor(rows: number): Promise<readonly Lane[]> {
    if (this.#loadLanes === undefined || rows < LANES) return [this.#whole];
    this.#lanes ??= this.#loadLanes();
    const lanes = await this.#lanes;
    return lanes.length > 0 ? lanes : [this.#whole];
  }
}

/** All lanes, or none if one cannot be loaded: that is for lack of memory, since the graph itself was loaded before. */
async function loadAll(path: string, options: SessionOptions, shape: PassShape): Promise<Lane[]> {
  const loads = Array.from({ length: LANES }, () => Session.create(path, options));
  const sessions = await allOrNone<Session[]>(loads).catch((): Session[] => []);
  return sessions.map((session) => new Lane(session, shape));
}

interface PassShape {
  readonly pixels: number;
  readonly classes: number;
  /** Shape of a prompt's conditioning, [2 x layers, S, D]; undefined for a model that has none. */
  readonly cross: readonly number[] | undefined;
}

/** Of a class, S is 1: see `buildLabelledTransformer`. */
function conditioningShape(
  transformer: TransformerConfig,
  prompts: PromptParts,
): readonly number[] | undefined {
  if (prompts.kind === "none") return undefined;
  const length = prompts.kind === "text" ? prompts.tokenizer.maxLength : 1;
  return [2 * transformer.num_layers, length, transformerWidth(transformer)];
}

/** A session with the graph, and the conditioning that it was given last. */
class Lane {
  readonly #session: Session;
  readonly #shape: PassShape;
  /** Reused for as long as the prompts of the passes are the same. */
  #cross: { prompts: readonly PromptConditioning[]; tensor: Tensor } | undefined;

  constructor(session: Session, shape: PassShape) {
    this.#session = session;
    this.#shape = shape;
  }

  /** Writes [rows, count, K] to `into`. Images without a row are left out. */
  async run(
    images: readonly PassImage[],
    rows: readonly PassRow[],
    { count, into }: { count: number; into: Float32Array },
  ): Promise<void> {
    const { pixels, classes } = this.#shape;
    const { used, places } = imagesOf(rows, images);
    const ids = new Uint16Array(used.length * pixels);
    for (const [place, { tokens }] of used.entries()) ids.set(tokens, place * pixels);
    await this.#session.run(
      {
        tokens: intTensor(ids, [used.length, pixels]),
        timestep: intTensor(
          used.map(({ timestep }) => timestep),
          [used.length],
        ),
        image: intTensor(places, [rows.length]),
        ...this.#conditioning(rows),
        asked: intTensor(evaluatedOf(rows, pixels, count), [rows.length, count]),
      },
      "log_probs",
      floatTensor(into, [rows.length, count, classes]),
    );
  }

  release(): Promise<void> {
    return this.#session.release();
  }

  #conditioning(rows: readonly PassRow[]): Record<string, Tensor> {
    const { cross } = this.#shape;
    if (cross === undefined) return {};
    const prompts = [...new Set(rows.map(({ prompt }) => prompt))];
    const places = rows.map(({ prompt }) => prompts.indexOf(prompt));
    return { cross: this.#assemble(prompts, cross), prompt: intTensor(places, [rows.length]) };
  }

  #assemble(prompts: readonly PromptConditioning[], shape: readonly number[]): Tensor {
    const last = this.#cross;
    if (last?.prompts.length === prompts.length && last.prompts.every((prompt, i) => prompt === prompts[i])) {
      return last.tensor;
    }
    const size = shape.reduce((product, length) => product * length, 1);
    const stacked = sharedFloats(prompts.length * size);
    for (const [place, prompt] of prompts.entries()) stacked.set(prompt.cross ?? outOfBounds(), place * size);
    const tensor = floatTensor(stacked, [prompts.length, ...shape]);
    this.#cross = { prompts, tensor };
    return tensor;
  }
}

/** Memory for the model's output, kept from pass to pass: the system takes a while to provide tens of megabytes. */
export class OutputBuffer {
  #memory: Float32Array = new Float32Array(0);

  ofSize(size: number): Float32Array {
    if (this.#memory.length < size) this.#memory = sharedFloats(size);
    return this.#memory.subarray(0, size);
  }
}
