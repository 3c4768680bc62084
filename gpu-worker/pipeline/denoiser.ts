// One denoising step for any number of images, each with its own prompt, timestep and settings.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import type { SessionOptions } from "../runtime/session.ts";
import type { PromptConditioning } from "./conditioning/prompt-conditioning.ts";
import { type DenoiseSlot, isGuided, keepHeld, type SlotStep } from "./denoise-slot.ts";
import { DevicePass, type Transfer } from "./device/device-pass.ts";
import { applyDrawn, drawRequest, drawsInGraph } from "./device/drawn-step.ts";
import { pick, sumOf } from "./sampling/jump-draw.ts";
import { writeMostLikely } from "./sampling/most-likely.ts";
import { type ImageLogProbs, PixelViews } from "./sampling/pixel-view.ts";
import { pixelsToEvaluate } from "./sampling/pixels-to-evaluate.ts";
import { purityOf, sharpen } from "./sampling/purity.ts";
import { type DrawnPixel, drawRemasked } from "./sampling/unmasking/remasking.ts";
import { StepNoise, type UniformSource } from "./sampling/random.ts";
import { type Jump, jumpAt, passAt } from "./sampling/schedule.ts";
import { gumbelArgmax } from "./sampling/scheduler.ts";
import {
  type Candidate,
  lowestRanked,
  type OrderContext,
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

export { type DenoiseSlot, isGuided } from "./denoise-slot.ts";

/** Throws for a finished slot, whose codes another step would draw a second time. */
function currentJump({ stepIndex, timesteps }: DenoiseSlot): Jump {
  const jump = jumpAt(timesteps, stepIndex);
  if (jump === undefined)
    throw new Error(`the slot has already completed ${stepIndex} of ${timesteps.length} steps`);
  return jump;
}

export class Denoiser {
  readonly #transformer: TransformerPass | DevicePass;
  readonly #pixels: number;
  readonly #classes: number;
  readonly #views: PixelViews;
  readonly #uniforms: Float64Array;
  /** Those that no step uses: as many as steps were under way at once. */
  readonly #outputs: OutputBuffer[] = [];

  private constructor(pass: TransformerPass | DevicePass, { transformer }: DiffusersCheckpoint) {
    this.#transformer = pass;
    this.#pixels = transformer.sample_size ** 2;
    this.#classes = transformer.num_vector_embeds - 1;
    this.#views = new PixelViews(this.#classes);
    this.#uniforms = new Float64Array(this.#classes);
  }

  static async load(
    checkpoint: DiffusersCheckpoint,
    graphs: string,
    { drawsOnDevice = false, ...options }: SessionOptions & { drawsOnDevice?: boolean },
  ): Promise<Denoiser> {
    const Pass = drawsOnDevice ? DevicePass : TransformerPass;
    return new Denoiser(await Pass.load(checkpoint, graphs, options), checkpoint);
  }

  /** Bytes to the device and back in the last pass that drew there; undefined where passes do not. */
  get transfer(): Transfer | undefined {
    return this.#transformer instanceof DevicePass ? this.#transformer.transfer : undefined;
  }

  /**
   * Advances every slot by one step, in place: one pass of the transformer, in which guided slots take two rows. Throws,
   * leaving all slots unchanged, if one is finished or the model's output is NaN.
   */
  async step(slots: readonly DenoiseSlot[]): Promise<void> {
    const move = await this.begin(slots);
    move();
  }

  /**
   * Prepares a pass and hands it to the runtime before it returns. Resolves to a function that advances the slots, so that the
   * pass after that can be begun before it is called: with other slots, since these are unchanged until then. Throws as `step`.
   *
   * A row's result has the same bits whatever else is in the pass: measured with onnxruntime 1.30's CPU provider for batches
   * of 1 to 9 rows and 1 to 4 threads, on the bundled model and on odd shapes (test/component/pipeline.test.ts).
   */
  async begin(slots: readonly DenoiseSlot[]): Promise<() => void> {
    const steps = slots.map((slot): SlotStep => {
      const jump = currentJump(slot);
      const noise = new StepNoise(slot.seed, slot.image, jump.t, passAt(slot.timesteps, slot.stepIndex));
      const preview = slot.mostLikely?.(slot.stepIndex);
      const isPreviewed = preview !== undefined;
      const context = { jump, noise, mask: this.#classes, isPreviewed };
      return { slot, jump, noise, evaluated: pixelsToEvaluate(slot, context), preview };
    });
    const evaluated = steps.filter((step) => step.evaluated.length > 0);
    const device = this.#transformer instanceof DevicePass ? this.#transformer : undefined;
    const drawing = device === undefined ? [] : evaluated.filter(({ slot }) => drawsInGraph(slot));
    const drawn = await device?.draw(
      drawing.map((step) => drawRequest(step, this.#classes)),
      drawing.some(({ preview }) => preview !== undefined),
    );
    const inPass = evaluated.filter((step) => !drawing.includes(step));
    const rows = inPass.flatMap(({ slot, evaluated: positions }, image): PassRow[] => {
      const conditional = { image, prompt: slot.prompt, evaluated: positions };
      const unconditional = { ...conditional, prompt: slot.negative };
      return isGuided(slot) ? [unconditional, conditional] : [conditional];
    });
    const images = inPass.map(({ slot, jump }) => ({ tokens: slot.tokens, timestep: jump.t }));
    const output = this.#outputs.pop() ?? new OutputBuffer();
    const { logProbs, rowSize } = await this.pass(images, rows, output);
    // A broken weight or provider affects whole rows; codes drawn from NaN would look like valid codes.
    for (let row = 0; row < rows.length; row++) {
      if (Number.isNaN(logProbs[row * rowSize])) throw new Error("the transformer's output is NaN");
    }
    return () => {
      for (const [i, step] of drawing.entries()) applyDrawn(step, drawn?.[i] ?? outOfBounds(), this.#classes);
      this.#sampleAll(inPass, { logProbs, rowSize });
      for (const { slot } of steps) slot.stepIndex++;
      this.#outputs.push(output);
    };
  }

  /** Samples the steps whose rows of the model's output are `logProbs`. */
  #sampleAll(steps: readonly SlotStep[], { logProbs, rowSize }: PassResult): void {
    let row = 0;
    for (const step of steps) {
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
    const largest = order.isRelative === true ? this.#largestPurity(image, evaluated.length) : 1;
    const drawing = { sharpening: order.sharpening / largest, noise, recorded };
    const candidates: Candidate[] = [];
    const drawn: DrawnPixel[] = [];
    for (const [place, position] of evaluated.entries()) {
      const current = tokens[position] ?? outOfBounds();
      const isMasked = current === this.#classes;
      if (!isMasked && (remasked === 0 || held?.[position] === 1)) continue;
      const probabilities = this.#views.at(image, place).probabilities();
      if (isMasked) candidates.push(this.#candidate(position, probabilities, drawing));
      else drawn.push({ position, confidence: confidenceOf(probabilities, current) });
    }
    const context = { noise: placesOf(recorded) ?? noise, maskedShare };
    const chosen = lowestRanked(candidates, unmasked, (candidate) => order.rank(candidate, context));
    for (const { position, token } of chosen) tokens[position] = token;
    for (const { position } of drawRemasked(drawn, remasked, noise)) tokens[position] = this.#classes;
  }

  #largestPurity(image: ImageLogProbs, pixels: number): number {
    let largest = 0;
    for (let place = 0; place < pixels; place++) {
      largest = Math.max(largest, purityOf(this.#views.at(image, place).probabilities()));
    }
    return largest;
  }

  /** A masked pixel with the class that it would get; `probabilities` are sharpened in place. */
  #candidate(
    position: number,
    probabilities: Float64Array,
    {
      sharpening,
      noise,
      recorded,
    }: { sharpening: number; noise: StepNoise; recorded: UniformSource | undefined },
  ): Candidate {
    const purity = sharpen(probabilities, sharpening);
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

/** Recorded numbers of pixels, if there are any; orders by confidence are never recorded. */
function placesOf(recorded: UniformSource | undefined): OrderContext["noise"] | undefined {
  const ofPosition = recorded?.ofPosition?.bind(recorded);
  return ofPosition === undefined ? undefined : { ofPosition, ofConfidence: ofPosition };
}

/** The normalized probability of a class, above 0 to 1. */
const confidenceOf = (probabilities: Float64Array, token: number): number =>
  (probabilities[token] ?? outOfBounds()) / sumOf(probabilities);
