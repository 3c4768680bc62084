// One denoising step for any number of images, each with its own prompt, timestep and settings.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import type { SessionOptions } from "../runtime/session.ts";
import type { PromptConditioning } from "./conditioning/prompt-conditioning.ts";
import { pick, sumOf } from "./sampling/jump-draw.ts";
import { writeMostLikely } from "./sampling/most-likely.ts";
import { type ImageLogProbs, PixelViews } from "./sampling/pixel-view.ts";
import { pixelsToEvaluate } from "./sampling/pixels-to-evaluate.ts";
import { sharpen } from "./sampling/purity.ts";
import { type DrawnPixel, drawRemasked } from "./sampling/unmasking/remasking.ts";
import { StepNoise, type UniformSource } from "./sampling/random.ts";
import { type Jump, jumpAt } from "./sampling/schedule.ts";
import { type DiffusionScheduler, gumbelArgmax } from "./sampling/scheduler.ts";
import {
  type Candidate,
  lowestRanked,
  orderOf,
  type UnmaskingOrder,
  unmaskingOf,
} from "./sampling/unmasking/order.ts";
import {
  OutputBuffer,
  type PassImage,
  type PassResult,
  type PassRow,
  TransformerPass,
} from "./transformer-pass.ts";

/** One image on its way from masks to codes. Its entire state is `tokens` and `stepIndex`. */
export interface DenoiseSlot {
  /** x_t: class ids [L], the mask being the last class. */
  readonly tokens: Uint16Array;
  /** [L], 1 for pixels that keep their class at every step, which is never the mask; undefined for none. */
  readonly held?: Uint8Array | undefined;
  /** Number of completed steps. */
  stepIndex: number;
  /** Timesteps of the whole run, first to last. */
  readonly timesteps: readonly number[];
  readonly seed: number | bigint;
  /** Index of the image among those with its seed: the noise depends on (seed, image). */
  readonly image: number;
  /** Guidance applies above 1. */
  readonly guidanceScale: number;
  /** Above 0; 1 leaves the probabilities unchanged. */
  readonly temperature: number;
  readonly truncationRate: number;
  readonly prompt: PromptConditioning;
  readonly negative: PromptConditioning;
  readonly scheduler: DiffusionScheduler;
  /** The order in which pixels are unmasked; if there is none, the posterior draws them. */
  readonly order?: UnmaskingOrder | undefined;
  /** Fraction of the drawn pixels that a step in an order remasks, 0 to 1. */
  readonly remasking: number;
  /** Noise to use instead of the seed's, for comparison with recorded runs. */
  readonly noise?: (stepIndex: number) => UniformSource;
  /** Where to write the most likely x_0 predicted at this step, class ids [L], if wanted. */
  readonly mostLikely?: ((stepIndex: number) => Uint16Array | undefined) | undefined;
}

/** Guidance evaluates the transformer twice: with and without the prompt. */
export const isGuided = (slot: DenoiseSlot): boolean => slot.guidanceScale > 1;

/** Throws for a finished slot, whose codes another step would draw a second time. */
function currentJump({ stepIndex, timesteps }: DenoiseSlot): Jump {
  const jump = jumpAt(timesteps, stepIndex);
  if (jump === undefined)
    throw new Error(`the slot has already completed ${stepIndex} of ${timesteps.length} steps`);
  return jump;
}

/** A slot's part in a step. */
interface SlotStep {
  readonly slot: DenoiseSlot;
  readonly jump: Jump;
  readonly noise: StepNoise;
  readonly evaluated: readonly number[];
  /** Where to write the most likely image. */
  readonly preview: Uint16Array | undefined;
}

export class Denoiser {
  readonly #transformer: TransformerPass;
  readonly #pixels: number;
  readonly #classes: number;
  readonly #views: PixelViews;
  readonly #uniforms: Float64Array;
  #output: OutputBuffer | undefined;

  private constructor(pass: TransformerPass, { transformer }: DiffusersCheckpoint) {
    this.#transformer = pass;
    this.#pixels = transformer.sample_size ** 2;
    this.#classes = transformer.num_vector_embeds - 1;
    this.#views = new PixelViews(this.#classes);
    this.#uniforms = new Float64Array(this.#classes);
  }

  static async load(
    checkpoint: DiffusersCheckpoint,
    graphs: string,
    options: SessionOptions,
  ): Promise<Denoiser> {
    return new Denoiser(await TransformerPass.load(checkpoint, graphs, options), checkpoint);
  }

  /**
   * Advances every slot by one step, in place: one pass of the transformer, in which guided slots take two rows. Throws,
   * leaving all slots unchanged, if one is finished or the model's output is NaN.
   *
   * A row's result has the same bits whatever else is in the pass: measured with onnxruntime 1.30's CPU provider for batches
   * of 1 to 9 rows and 1 to 4 threads, on the bundled model and on odd shapes (test/component/pipeline.test.ts).
   */
  async step(slots: readonly DenoiseSlot[]): Promise<void> {
    const steps = slots.map((slot): SlotStep => {
      const jump = currentJump(slot);
      const noise = new StepNoise(slot.seed, slot.image, jump.t);
      const preview = slot.mostLikely?.(slot.stepIndex);
      const isPreviewed = preview !== undefined;
      const evaluated = pixelsToEvaluate(slot, { jump, noise, mask: this.#classes, isPreviewed });
      return { slot, jump, noise, evaluated, preview };
    });
    const inPass = steps.filter(({ evaluated }) => evaluated.length > 0);
    const rows = inPass.flatMap(({ slot, evaluated }, image): PassRow[] => {
      const conditional = { image, prompt: slot.prompt, evaluated };
      return isGuided(slot) ? [{ image, prompt: slot.negative, evaluated }, conditional] : [conditional];
    });
    const images = inPass.map(({ slot, jump }) => ({ tokens: slot.tokens, timestep: jump.t }));
    const output = this.#takeOutput();
    const { logProbs, rowSize } = await this.pass(images, rows, output);
    // A broken weight or provider affects whole rows; codes drawn from NaN would look like valid codes.
    for (let row = 0; row < rows.length; row++) {
      if (Number.isNaN(logProbs[row * rowSize])) throw new Error("the transformer's output is NaN");
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
        temperature: slot.temperature,
        truncationRate: slot.truncationRate,
      };
      if (step.preview !== undefined) {
        writeMostLikely(step.preview, image, this.#classes);
        keepHeld(step.preview, slot);
      }
      this.#sample(step, image);
      row += guided ? 2 : 1;
    }
    for (const { slot } of steps) slot.stepIndex++;
    this.#output = output;
  }

  /** log p(x_0 | x_t, y) over the classes without the mask, [rows, L, K]; each row has tokens, a timestep and a prompt. */
  async predict(
    tokens: readonly Uint16Array[],
    timesteps: readonly number[],
    prompts: readonly PromptConditioning[],
  ): Promise<Float32Array> {
    const evaluated = Array.from({ length: this.#pixels }, (_, position) => position);
    const { logProbs, rowSize } = await this.pass(
      tokens.map((row, image) => ({ tokens: row, timestep: timesteps[image] ?? outOfBounds() })),
      prompts.map((prompt, image) => ({ image, prompt, evaluated })),
    );
    const size = this.#pixels * this.#classes;
    if (rowSize === size) return logProbs;
    const result = new Float32Array(tokens.length * size);
    for (let row = 0; row < tokens.length; row++) {
      result.set(logProbs.subarray(row * rowSize, row * rowSize + size), row * size);
    }
    return result;
  }

  /** A pass of the transformer, as a step makes it. */
  pass(images: readonly PassImage[], rows: readonly PassRow[], output?: OutputBuffer): Promise<PassResult> {
    return this.#transformer.run(images, rows, output);
  }

  async release(): Promise<void> {
    await this.#transformer.release();
  }

  /** Removed while a step uses it, because another step may begin in the meantime. */
  #takeOutput(): OutputBuffer {
    const output = this.#output ?? new OutputBuffer();
    this.#output = undefined;
    return output;
  }

  /** Samples one slot's step, pixel by pixel, from its rows of the model's output. */
  #sample(step: SlotStep, image: ImageLogProbs): void {
    const { slot, jump, noise, evaluated } = step;
    const { tokens, held, scheduler } = slot;
    const recorded = slot.noise?.(slot.stepIndex);
    const order = orderOf(slot, jump);
    if (order !== undefined) {
      this.#unmask(step, order, image, recorded);
      return;
    }
    for (const [place, position] of evaluated.entries()) {
      if (held?.[position] === 1) continue;
      const view = this.#views.at(image, place);
      const current = tokens[position] ?? outOfBounds();
      tokens[position] =
        recorded === undefined
          ? scheduler.drawPixel(view, current, jump, noise.ofDraw(position))
          : scheduler.samplePixel(view.probabilities(), current, jump, position, recorded);
    }
  }

  #unmask(
    { slot, jump, noise, evaluated }: SlotStep,
    order: UnmaskingOrder,
    image: ImageLogProbs,
    recorded: UniformSource | undefined,
  ): void {
    const { tokens, held } = slot;
    const { unmasked, remasked, maskedShare } = unmaskingOf(slot, jump, this.#classes);
    const candidates: Candidate[] = [];
    const drawn: DrawnPixel[] = [];
    for (const [place, position] of evaluated.entries()) {
      const current = tokens[position] ?? outOfBounds();
      const isMasked = current === this.#classes;
      if (!isMasked && (remasked === 0 || held?.[position] === 1)) continue;
      const probabilities = this.#views.at(image, place).probabilities();
      if (isMasked) candidates.push(this.#candidate(position, probabilities, { order, noise, recorded }));
      else drawn.push({ position, confidence: confidenceOf(probabilities, current) });
    }
    const context = { noise, maskedShare };
    const chosen = lowestRanked(candidates, unmasked, (candidate) => order.rank(candidate, context));
    for (const { position, token } of chosen) tokens[position] = token;
    for (const { position } of drawRemasked(drawn, remasked, noise)) tokens[position] = this.#classes;
  }

  /** A masked pixel with the class that it would get; `probabilities` are sharpened in place. */
  #candidate(
    position: number,
    probabilities: Float64Array,
    {
      order,
      noise,
      recorded,
    }: { order: UnmaskingOrder; noise: StepNoise; recorded: UniformSource | undefined },
  ): Candidate {
    const purity = sharpen(probabilities, order.sharpening);
    let token: number;
    if (recorded === undefined) {
      token = pick(probabilities, noise.ofDraw(position).choice);
    } else {
      recorded.fill(this.#uniforms, position);
      token = gumbelArgmax(probabilities, this.#uniforms);
    }
    return { position, token, purity, confidence: confidenceOf(probabilities, token) };
  }
}

/** Writes the classes of held pixels to `preview`. */
function keepHeld(preview: Uint16Array, { tokens, held }: DenoiseSlot): void {
  for (const [position, token] of tokens.entries()) if (held?.[position] === 1) preview[position] = token;
}

/** The normalized probability of a class, above 0 to 1. */
const confidenceOf = (probabilities: Float64Array, token: number): number =>
  (probabilities[token] ?? outOfBounds()) / sumOf(probabilities);
