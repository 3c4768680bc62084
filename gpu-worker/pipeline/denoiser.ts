// One denoising step for any number of images, each with its own prompt, timestep and settings.

import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { graphPath } from "../graph/cache.ts";
import { transformerWidth } from "../graph/transformer.ts";
import {
  floatTensor,
  intTensor,
  Session,
  type SessionOptions,
  sharedFloats,
  type Tensor,
} from "../session.ts";
import { askedPixels } from "./asked-pixels.ts";
import { pick } from "./jump-draw.ts";
import { writeMostLikely } from "./most-likely.ts";
import { type ImageLogProbs, PixelViews } from "./pixel-view.ts";
import { type Candidate, drawByPurity, maskedAfter, type PurityPrior, sharpen } from "./purity.ts";
import { StepNoise, type UniformSource } from "./random.ts";
import { type Jump, jumpAt } from "./schedule.ts";
import { type DiffusionScheduler, gumbelArgmax } from "./scheduler.ts";
import type { PromptConditioning } from "./text-conditioner.ts";

/** One image on its way from masks to codes. `tokens` and `stepIndex` are all of its state. */
export interface DenoiseSlot {
  /** x_t: class ids [L], the mask being the last class. */
  readonly tokens: Uint16Array;
  /** Steps done. */
  stepIndex: number;
  /** Timesteps of the whole run, first to last. */
  readonly timesteps: readonly number[];
  readonly seed: number;
  /** Index of the image among those of its seed: the noise depends on (seed, image). */
  readonly image: number;
  /** Guidance applies above 1. */
  readonly guidanceScale: number;
  readonly truncationRate: number;
  readonly prompt: PromptConditioning;
  readonly negative: PromptConditioning;
  readonly scheduler: DiffusionScheduler;
  /** Purity sampling, if it is wanted. */
  readonly prior?: PurityPrior | undefined;
  /** Noise to use instead of the seed's, for comparison with recorded runs. */
  readonly noise?: (stepIndex: number) => UniformSource;
  /** Where to write the most likely x_0 as this step sees it, class ids [L], if it is wanted. */
  readonly mostLikely?: ((stepIndex: number) => Uint16Array | undefined) | undefined;
}

/** Guidance asks the transformer twice: with the prompt and without. */
export const isGuided = (slot: DenoiseSlot): boolean => slot.guidanceScale > 1;

/** A finished slot has none: stepping it would draw its codes a second time. */
function currentJump({ stepIndex, timesteps }: DenoiseSlot): Jump {
  const jump = jumpAt(timesteps, stepIndex);
  if (jump === undefined)
    throw new Error(`a slot that has done ${stepIndex} of ${timesteps.length} steps is done`);
  return jump;
}

/** Images take part in a pass by one row, or by two if they are guided: the one without the prompt first. */
interface PassRow {
  /** Index among the images of the pass. */
  readonly image: number;
  readonly prompt: PromptConditioning;
  /** Positions that are asked about. */
  readonly asked: readonly number[];
}

interface PassImage {
  readonly tokens: Uint16Array;
  readonly timestep: number;
}

/** A slot's part in a step. */
interface SlotStep {
  readonly slot: DenoiseSlot;
  readonly jump: Jump;
  readonly noise: StepNoise;
  readonly asked: readonly number[];
  /** Where the most likely picture is to be written. */
  readonly preview: Uint16Array | undefined;
}

/** The share of a row's pixels that the number of those asked about is rounded up to, so that passes have few sizes. */
const ASKED_SHARES = 16;
/** At least so many, and a multiple of it: the runtime multiplies a single row by other code, to other bits. */
const ASKED_MULTIPLE = 8;

export class Denoiser {
  readonly #session: Session;
  readonly #pixels: number;
  readonly #classes: number;
  readonly #crossShape: readonly number[];
  readonly #views: PixelViews;
  readonly #uniforms: Float64Array;
  readonly #askedUnit: number;
  #output: OutputBuffer | undefined;
  /** The assembled conditioning of the last pass, for as long as the same prompts take part. */
  #cross: { rows: readonly PromptConditioning[]; tensor: Tensor } | undefined;

  private constructor(session: Session, { transformer, tokenizer }: DiffusersCheckpoint) {
    this.#session = session;
    this.#pixels = transformer.sample_size ** 2;
    this.#classes = transformer.num_vector_embeds - 1;
    this.#crossShape = [2 * transformer.num_layers, tokenizer.maxLength, transformerWidth(transformer)];
    this.#views = new PixelViews(this.#classes);
    this.#uniforms = new Float64Array(this.#classes);
    this.#askedUnit = ASKED_MULTIPLE * Math.ceil(this.#pixels / ASKED_SHARES / ASKED_MULTIPLE);
  }

  static async load(
    checkpoint: DiffusersCheckpoint,
    graphs: string,
    options: SessionOptions,
  ): Promise<Denoiser> {
    return new Denoiser(await Session.create(graphPath(graphs, "transformer"), options), checkpoint);
  }

  /**
   * Advances every slot by one step, in place: one pass of the transformer, guided slots taking two rows of it.
   * Throws, leaving all slots as they were, when one is done or the model's output is not a number.
   *
   * A row's result has the same bits whatever else is in the pass: measured on onnxruntime 1.30's CPU provider for
   * batches of 1 to 9 rows, with 1 to 4 threads, on the bundled model and on odd shapes (test/unit/pipeline.test.ts).
   */
  async step(slots: readonly DenoiseSlot[]): Promise<void> {
    const steps = slots.map((slot): SlotStep => {
      const jump = currentJump(slot);
      const noise = new StepNoise(slot.seed, slot.image, jump.t);
      const preview = slot.mostLikely?.(slot.stepIndex);
      const isPreviewed = preview !== undefined;
      const asked = askedPixels(slot, { jump, noise, mask: this.#classes, isPreviewed });
      return { slot, jump, noise, asked, preview };
    });
    const inPass = steps.filter(({ asked }) => asked.length > 0);
    const rows = inPass.flatMap(({ slot, asked }, image): PassRow[] => {
      const conditional = { image, prompt: slot.prompt, asked };
      return isGuided(slot) ? [{ image, prompt: slot.negative, asked }, conditional] : [conditional];
    });
    const images = inPass.map(({ slot, jump }) => ({ tokens: slot.tokens, timestep: jump.t }));
    const output = this.#takeOutput();
    const { logProbs, rowSize } = await this.pass(images, rows, output);
    // A broken weight or provider shows in whole rows; drawn from NaN, the codes would look like codes.
    for (let row = 0; row < rows.length; row++) {
      if (Number.isNaN(logProbs[row * rowSize])) throw new Error("the transformer's output is not a number");
    }
    let row = 0;
    for (const step of inPass) {
      const { slot } = step;
      const guided = isGuided(slot);
      const image: ImageLogProbs = {
        logProbs,
        conditional: (guided ? row + 1 : row) * rowSize,
        unconditional: guided ? row * rowSize : undefined,
        guidanceScale: slot.guidanceScale,
        truncationRate: slot.truncationRate,
      };
      if (step.preview !== undefined) writeMostLikely(step.preview, image, this.#classes);
      this.#sample(step, image);
      row += guided ? 2 : 1;
    }
    for (const { slot } of steps) slot.stepIndex++;
    this.#output = output;
  }

  /** log p(x_0 | x_t, y) over the classes without the mask, [rows, L, K], for rows of tokens, timestep and prompt. */
  async predict(
    tokens: readonly Uint16Array[],
    timesteps: readonly number[],
    prompts: readonly PromptConditioning[],
  ): Promise<Float32Array> {
    const asked = Array.from({ length: this.#pixels }, (_, position) => position);
    const { logProbs, rowSize } = await this.pass(
      tokens.map((row, image) => ({ tokens: row, timestep: timesteps[image] ?? 0 })),
      prompts.map((prompt, image) => ({ image, prompt, asked })),
    );
    const size = this.#pixels * this.#classes;
    if (rowSize === size) return logProbs;
    const result = new Float32Array(tokens.length * size);
    for (let row = 0; row < tokens.length; row++) {
      result.set(logProbs.subarray(row * rowSize, row * rowSize + size), row * size);
    }
    return result;
  }

  /**
   * log p(x_0 | x_t, y) of the pixels that each row asks about: `rowSize` numbers for each row, K for each pixel in the
   * order of `asked`, and more behind them that mean nothing. Rows of one image share their work up to the first
   * cross-attention. A pixel's numbers have the same bits whatever else is asked.
   */
  async pass(
    images: readonly PassImage[],
    rows: readonly PassRow[],
    output = new OutputBuffer(),
  ): Promise<{ logProbs: Float32Array; rowSize: number }> {
    if (rows.length === 0) return { logProbs: new Float32Array(0), rowSize: 0 };
    const ids = new Uint16Array(images.length * this.#pixels);
    for (const [image, { tokens }] of images.entries()) ids.set(tokens, image * this.#pixels);
    const most = Math.max(...rows.map(({ asked }) => asked.length));
    const count = Math.ceil(most / this.#askedUnit) * this.#askedUnit;
    // Rows that ask less are filled up with their first pixel.
    const asked = new Int32Array(rows.length * count);
    for (const [row, { asked: positions }] of rows.entries()) {
      asked.fill(row * this.#pixels, row * count, (row + 1) * count);
      for (const [i, position] of positions.entries()) asked[row * count + i] = row * this.#pixels + position;
    }
    const rowSize = count * this.#classes;
    const logProbs = output.ofSize(rows.length * rowSize);
    await this.#session.run(
      {
        tokens: intTensor(ids, [images.length, this.#pixels]),
        timestep: intTensor(
          images.map(({ timestep }) => timestep),
          [images.length],
        ),
        image: intTensor(
          rows.map(({ image }) => image),
          [rows.length],
        ),
        cross: this.#assemble(rows.map(({ prompt }) => prompt)),
        asked: intTensor(asked, [rows.length, count]),
      },
      "log_probs",
      floatTensor(logProbs, [rows.length, count, this.#classes]),
    );
    return { logProbs, rowSize };
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** Taken away while a step uses it, since another may begin meanwhile. */
  #takeOutput(): OutputBuffer {
    const output = this.#output ?? new OutputBuffer();
    this.#output = undefined;
    return output;
  }

  #assemble(prompts: readonly PromptConditioning[]): Tensor {
    const last = this.#cross;
    if (last?.rows.length === prompts.length && last.rows.every((prompt, i) => prompt === prompts[i])) {
      return last.tensor;
    }
    const size = this.#crossShape.reduce((product, length) => product * length, 1);
    const stacked = sharedFloats(prompts.length * size);
    for (const [row, prompt] of prompts.entries()) stacked.set(prompt.cross, row * size);
    const tensor = floatTensor(stacked, [prompts.length, ...this.#crossShape]);
    this.#cross = { rows: prompts, tensor };
    return tensor;
  }

  /** One slot's step, pixel by pixel, from its rows of the model's output. */
  #sample(step: SlotStep, image: ImageLogProbs): void {
    const { slot, jump, noise, asked } = step;
    const { tokens, scheduler, prior } = slot;
    const recorded = slot.noise?.(slot.stepIndex);
    if (prior !== undefined && jump.s >= 0) {
      this.#unmaskByPurity(step, prior, image, recorded);
      return;
    }
    for (const [place, position] of asked.entries()) {
      const view = this.#views.at(image, place);
      const current = tokens[position] ?? 0;
      tokens[position] =
        recorded === undefined
          ? scheduler.drawPixel(view, current, jump, noise.ofDraw(position))
          : scheduler.samplePixel(view.probabilities(), current, jump, position, recorded);
    }
  }

  #unmaskByPurity(
    { slot, jump, noise, asked }: SlotStep,
    prior: PurityPrior,
    image: ImageLogProbs,
    recorded: UniformSource | undefined,
  ): void {
    const { tokens, scheduler, timesteps } = slot;
    const candidates: Candidate[] = [];
    for (const [place, position] of asked.entries()) {
      if (tokens[position] !== this.#classes) continue;
      const probabilities = this.#views.at(image, place).probabilities();
      const purity = sharpen(probabilities, prior.weight);
      let token: number;
      if (recorded === undefined) {
        token = pick(probabilities, noise.ofDraw(position).choice);
      } else {
        recorded.fill(this.#uniforms, position);
        token = gumbelArgmax(probabilities, this.#uniforms);
      }
      candidates.push({ position, purity, token });
    }
    const count = candidates.length - maskedAfter(scheduler, timesteps, jump.s, this.#pixels);
    for (const { position, token } of drawByPurity(candidates, count, noise)) tokens[position] = token;
  }
}

/** Memory for the model's output, kept from pass to pass: the system takes a while to give some tens of megabytes. */
class OutputBuffer {
  #memory: Float32Array = new Float32Array(0);

  ofSize(size: number): Float32Array {
    if (this.#memory.length < size) this.#memory = sharedFloats(size);
    return this.#memory.subarray(0, size);
  }
}
