// One denoising step for any number of images, each with its own prompt, timestep and settings.

import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { graphPath } from "../graph/cache.ts";
import { transformerWidth } from "../graph/transformer.ts";
import { floatData, floatTensor, intTensor, Session, type SessionOptions, type Tensor } from "../session.ts";
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

const isGuided = (slot: DenoiseSlot): boolean => slot.guidanceScale > 1;

/** A finished slot has none: stepping it would draw its codes a second time. */
function currentJump({ stepIndex, timesteps }: DenoiseSlot): Jump {
  const jump = jumpAt(timesteps, stepIndex);
  if (jump === undefined)
    throw new Error(`a slot that has done ${stepIndex} of ${timesteps.length} steps is done`);
  return jump;
}

export class Denoiser {
  readonly #session: Session;
  readonly #pixels: number;
  readonly #classes: number;
  readonly #crossShape: readonly number[];
  readonly #views: PixelViews;
  readonly #uniforms: Float64Array;
  /** The assembled conditioning of the last pass, for as long as the same prompts take part. */
  #cross: { rows: readonly PromptConditioning[]; tensor: Tensor } | undefined;

  private constructor(session: Session, { transformer, tokenizer }: DiffusersCheckpoint) {
    this.#session = session;
    this.#pixels = transformer.sample_size ** 2;
    this.#classes = transformer.num_vector_embeds - 1;
    this.#crossShape = [2 * transformer.num_layers, tokenizer.maxLength, transformerWidth(transformer)];
    this.#views = new PixelViews(this.#classes);
    this.#uniforms = new Float64Array(this.#classes);
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
    const rows = slots.flatMap((slot) =>
      isGuided(slot)
        ? [
            { slot, prompt: slot.negative },
            { slot, prompt: slot.prompt },
          ]
        : [{ slot, prompt: slot.prompt }],
    );
    const logProbs = await this.predict(
      rows.map(({ slot }) => slot.tokens),
      rows.map(({ slot }) => currentJump(slot).t),
      rows.map(({ prompt }) => prompt),
    );
    // A broken weight or provider shows in whole rows; drawn from NaN, the codes would look like codes.
    for (let row = 0; row < rows.length; row++) {
      if (Number.isNaN(logProbs[row * this.#pixels * this.#classes])) {
        throw new Error("the transformer's output is not a number");
      }
    }
    let row = 0;
    for (const slot of slots) {
      const guided = isGuided(slot);
      const mostLikely = slot.mostLikely?.(slot.stepIndex);
      if (mostLikely !== undefined) {
        const rowSize = this.#pixels * this.#classes;
        const start = row * rowSize;
        writeMostLikely(mostLikely, logProbs, guided ? start + rowSize : start, {
          ...(guided ? { unconditional: start } : {}),
          guidanceScale: slot.guidanceScale,
          classes: this.#classes,
        });
      }
      this.#sample(slot, logProbs, guided ? row + 1 : row, guided ? row : undefined);
      slot.stepIndex++;
      row += guided ? 2 : 1;
    }
  }

  /** log p(x_0 | x_t, y) over the classes without the mask, [rows, L, K], for rows of tokens, timestep and prompt. */
  async predict(
    tokens: readonly Uint16Array[],
    timesteps: readonly number[],
    prompts: readonly PromptConditioning[],
  ): Promise<Float32Array> {
    const ids = new Uint16Array(tokens.length * this.#pixels);
    for (const [row, rowTokens] of tokens.entries()) ids.set(rowTokens, row * this.#pixels);
    const output = await this.#session.run(
      {
        tokens: intTensor(ids, [tokens.length, this.#pixels]),
        timestep: intTensor(timesteps, [timesteps.length]),
        cross: this.#assemble(prompts),
      },
      "log_probs",
    );
    return floatData(output);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  #assemble(prompts: readonly PromptConditioning[]): Tensor {
    const last = this.#cross;
    if (last?.rows.length === prompts.length && last.rows.every((prompt, i) => prompt === prompts[i])) {
      return last.tensor;
    }
    const size = this.#crossShape.reduce((product, length) => product * length, 1);
    const stacked = new Float32Array(prompts.length * size);
    for (const [row, prompt] of prompts.entries()) stacked.set(prompt.cross, row * size);
    const tensor = floatTensor(stacked, [prompts.length, ...this.#crossShape]);
    this.#cross = { rows: prompts, tensor };
    return tensor;
  }

  /** One slot's step, pixel by pixel, from its rows of the model's output. */
  #sample(slot: DenoiseSlot, logProbs: Float32Array, condRow: number, uncondRow: number | undefined): void {
    const { tokens, scheduler, prior, guidanceScale, truncationRate } = slot;
    const jump = currentJump(slot);
    const rowSize = this.#pixels * this.#classes;
    const image: ImageLogProbs = {
      logProbs,
      conditional: condRow * rowSize,
      unconditional: uncondRow === undefined ? undefined : uncondRow * rowSize,
      guidanceScale,
      truncationRate,
    };
    const noise = new StepNoise(slot.seed, slot.image, jump.t);
    const recorded = slot.noise?.(slot.stepIndex);
    if (prior !== undefined && jump.s >= 0) {
      this.#unmaskByPurity(slot, prior, image, { noise, recorded });
      return;
    }
    for (let position = 0; position < this.#pixels; position++) {
      const view = this.#views.at(image, position);
      const current = tokens[position] ?? 0;
      tokens[position] =
        recorded === undefined
          ? scheduler.drawPixel(view, current, jump, noise.ofDraw(position))
          : scheduler.samplePixel(view.probabilities(), current, jump, position, recorded);
    }
  }

  #unmaskByPurity(
    slot: DenoiseSlot,
    prior: PurityPrior,
    image: ImageLogProbs,
    { noise, recorded }: { noise: StepNoise; recorded: UniformSource | undefined },
  ): void {
    const { tokens, scheduler, timesteps } = slot;
    const candidates: Candidate[] = [];
    for (let position = 0; position < this.#pixels; position++) {
      if (tokens[position] !== this.#classes) continue;
      const probabilities = this.#views.at(image, position).probabilities();
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
    const { s } = currentJump(slot);
    const count = candidates.length - maskedAfter(scheduler, timesteps, s, this.#pixels);
    for (const { position, token } of drawByPurity(candidates, count, noise)) tokens[position] = token;
  }
}
