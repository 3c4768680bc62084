// VQ-Diffusion text to image: encodePrompt → prepareLatents → denoise → decode, each step public.

import { readFileSync } from "node:fs";
import { type ClipTokenizer, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { ensureGraphs } from "../graph/cache.ts";
import { graphForm, type Quantization } from "../graph/form.ts";
import type { Provider } from "../session.ts";
import { type DenoiseSlot, Denoiser } from "./denoiser.ts";
import { InvalidInputError } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import { describeModel, type PipelineInfo } from "./info.ts";
import { randomSeed } from "./random.ts";
import { type DiffusionScheduler, VQDiffusionScheduler } from "./scheduler.ts";
import { type PromptConditioning, TextConditioner } from "./text-conditioner.ts";
import { VQModel } from "./vq-model.ts";

export type { DenoiseSlot } from "./denoiser.ts";
export type { PipelineInfo } from "./info.ts";
export type { PromptConditioning } from "./text-conditioner.ts";

export interface PipelineOptions {
  readonly provider?: Provider;
  /** Threads of the CPU provider. */
  readonly threads?: number;
  /** How the linear layers of transformer and text encoder are computed. */
  readonly quantization?: Quantization;
  /** Where built graphs are kept. */
  readonly cacheDir: string;
}

export interface CallOptions {
  readonly prompt: string | readonly string[];
  readonly negativePrompt?: string | undefined;
  readonly numInferenceSteps?: number | undefined;
  readonly guidanceScale?: number | undefined;
  readonly truncationRate?: number | undefined;
  readonly numImagesPerPrompt?: number | undefined;
  /** Image i draws its noise from (seed, i). */
  readonly seed?: number | undefined;
  /** Class ids to start from instead of all masked, one array per image. */
  readonly latents?: readonly Uint16Array[];
  /** Called after each step; the slots are the pipeline's own, to be read only. */
  readonly onStep?: (step: number, total: number, slots: readonly DenoiseSlot[]) => void;
  readonly signal?: AbortSignal;
}

export interface ImagePipelineOutput {
  readonly images: readonly RgbImage[];
  /** Final class ids of each image, [latentHeight x latentWidth], row-major. */
  readonly latents: readonly Uint16Array[];
  readonly seed: number;
}

/** diffusers' defaults. */
const DEFAULTS = {
  numInferenceSteps: 100,
  guidanceScale: 5,
  truncationRate: 1,
  numImagesPerPrompt: 1,
} as const;

export class VQDiffusionPipeline {
  readonly info: PipelineInfo;
  readonly scheduler: DiffusionScheduler;
  readonly #conditioner: TextConditioner;
  readonly #denoiser: Denoiser;
  readonly #vqModel: VQModel;
  readonly #mergesPath: string;
  #tokenizer: ClipTokenizer | undefined;

  private constructor(
    info: PipelineInfo,
    mergesPath: string,
    parts: {
      scheduler: DiffusionScheduler;
      conditioner: TextConditioner;
      denoiser: Denoiser;
      vqModel: VQModel;
    },
  ) {
    this.info = info;
    this.#mergesPath = mergesPath;
    this.scheduler = parts.scheduler;
    this.#conditioner = parts.conditioner;
    this.#denoiser = parts.denoiser;
    this.#vqModel = parts.vqModel;
  }

  /**
   * Loads a checkpoint folder in the diffusers layout. Throws a CheckpointError naming the file when the folder
   * is incomplete or damaged, and says what is missing when the provider cannot run here.
   */
  static async fromPretrained(
    dir: string,
    { provider = "cpu", threads = 1, quantization = "none", cacheDir }: PipelineOptions,
  ): Promise<VQDiffusionPipeline> {
    const checkpoint = new DiffusersCheckpoint(dir);
    const version = checkpoint.version();
    const graphs = ensureGraphs(checkpoint, version, { cacheDir, form: graphForm(provider, quantization) });
    const options = { provider, threads };
    const [conditioner, denoiser, vqModel] = await Promise.all([
      TextConditioner.load(checkpoint, graphs, options),
      Denoiser.load(checkpoint, graphs, options),
      VQModel.load(checkpoint, graphs, options),
    ]);
    const scheduler = new VQDiffusionScheduler(checkpoint.scheduler);
    const parts = { scheduler, conditioner, denoiser, vqModel };
    const info = describeModel(checkpoint, version, { provider, quantization });
    return new VQDiffusionPipeline(info, checkpoint.tokenizer.mergesPath, parts);
  }

  /** Conditioning of one prompt per list of token ids, each of `info.textLength` ids. */
  encodePrompt(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    return this.#conditioner.encode(promptIds);
  }

  /** What stands for "no prompt" in guidance: the model's own unconditional embedding, or a negative prompt's. */
  async encodeNegativePrompt(ids: readonly number[] | null): Promise<PromptConditioning> {
    if (ids === null) return this.#conditioner.unconditional;
    const [conditioning] = await this.#conditioner.encode([ids]);
    return conditioning ?? this.#conditioner.unconditional;
  }

  /** `count` images of masked pixels. */
  prepareLatents(count: number): Uint16Array[] {
    const { latentHeight, latentWidth, numEmbeddings } = this.info;
    return Array.from({ length: count }, () =>
      new Uint16Array(latentHeight * latentWidth).fill(numEmbeddings),
    );
  }

  /** One denoising step of each slot, in one pass, in place. Slots need not be at the same timestep. */
  stepSlots(slots: readonly DenoiseSlot[]): Promise<void> {
    return this.#denoiser.step(slots);
  }

  /** Class ids without masks → pictures. */
  decode(latents: readonly Uint16Array[]): Promise<RgbImage[]> {
    return this.#vqModel.decode(latents);
  }

  /** A picture of the model's size → class ids. */
  encodeImage(image: RgbImage): Promise<Uint16Array> {
    return this.#vqModel.encode(image);
  }

  /** Text → token ids as the model takes them: padded, or cut, to `info.textLength`. */
  tokenize(text: string): { ids: number[]; tokenCount: number; truncated: boolean } {
    this.#tokenizer ??= createClipTokenizer(readFileSync(this.#mergesPath, "utf8"));
    return this.#tokenizer.encodePadded(text, {
      maxLength: this.info.textLength,
      padTokenId: this.info.padTokenId,
    });
  }

  /** The whole way, as diffusers' `__call__`. Throws InvalidInputError; rejects with the signal's reason on abort. */
  async call(options: CallOptions): Promise<ImagePipelineOutput> {
    const settings = {
      numInferenceSteps: options.numInferenceSteps ?? DEFAULTS.numInferenceSteps,
      guidanceScale: options.guidanceScale ?? DEFAULTS.guidanceScale,
      truncationRate: options.truncationRate ?? DEFAULTS.truncationRate,
      numImagesPerPrompt: options.numImagesPerPrompt ?? DEFAULTS.numImagesPerPrompt,
      seed: options.seed ?? randomSeed(),
    };
    const prompts = typeof options.prompt === "string" ? [options.prompt] : options.prompt;
    if (prompts.length === 0) throw new InvalidInputError("prompt", "must not be an empty list");
    if (!Number.isInteger(settings.numImagesPerPrompt) || settings.numImagesPerPrompt < 1) {
      throw new InvalidInputError(
        "numImagesPerPrompt",
        `must be an integer >= 1, not ${settings.numImagesPerPrompt}`,
      );
    }
    const count = prompts.length * settings.numImagesPerPrompt;
    const latents = options.latents?.map((tokens) => tokens.slice()) ?? this.prepareLatents(count);
    if (latents.length !== count) {
      throw new InvalidInputError("latents", `must hold ${count} images, not ${latents.length}`);
    }
    const conditionings = await this.encodePrompt(prompts.map((prompt) => this.tokenize(prompt).ids));
    const negativeIds =
      options.negativePrompt === undefined ? null : this.tokenize(options.negativePrompt).ids;
    const negative = await this.encodeNegativePrompt(negativeIds);
    const slots = latents.map((tokens, image) => {
      const prompt = conditionings[Math.floor(image / settings.numImagesPerPrompt)];
      if (prompt === undefined)
        throw new InvalidInputError("prompt", "has fewer entries than images were asked for");
      return this.makeSlot({ ...settings, tokens, image, prompt, negative });
    });
    await this.denoise(slots, options);
    return { images: await this.decode(latents), latents, seed: settings.seed };
  }

  /** A slot at step `stepIndex` (0 by default); checks all settings against the model. */
  makeSlot(init: SlotInit): DenoiseSlot {
    const { numInferenceSteps, seed, tokens } = init;
    const pixels = this.info.latentHeight * this.info.latentWidth;
    if (tokens.length !== pixels || tokens.some((token) => token > this.info.numEmbeddings)) {
      throw new InvalidInputError(
        "latents",
        `must be ${pixels} class ids from 0 to ${this.info.numEmbeddings}`,
      );
    }
    if (!Number.isFinite(init.guidanceScale) || init.guidanceScale < 0) {
      throw new InvalidInputError("guidanceScale", `must be a number >= 0, not ${init.guidanceScale}`);
    }
    if (!(init.truncationRate > 0 && init.truncationRate <= 1)) {
      throw new InvalidInputError(
        "truncationRate",
        `must be above 0 and at most 1, not ${init.truncationRate}`,
      );
    }
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new InvalidInputError(
        "seed",
        `must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}, not ${seed}`,
      );
    }
    const timesteps = this.scheduler.timesteps(numInferenceSteps);
    const stepIndex = init.stepIndex ?? 0;
    if (!Number.isInteger(stepIndex) || stepIndex < 0 || stepIndex > timesteps.length) {
      throw new InvalidInputError(
        "stepIndex",
        `must be an integer from 0 to ${timesteps.length}, not ${stepIndex}`,
      );
    }
    return {
      tokens,
      stepIndex,
      timesteps,
      seed,
      image: init.image,
      guidanceScale: init.guidanceScale,
      truncationRate: init.truncationRate,
      prompt: init.prompt,
      negative: init.negative,
      scheduler: this.scheduler,
    };
  }

  /** Steps slots to the end, each from where it is: those that are done sit out the rest. */
  async denoise(
    slots: readonly DenoiseSlot[],
    { onStep, signal }: Pick<CallOptions, "onStep" | "signal"> = {},
  ) {
    for (;;) {
      const left = slots.filter((slot) => slot.stepIndex < slot.timesteps.length);
      const [next] = left;
      if (next === undefined) return;
      signal?.throwIfAborted();
      await this.stepSlots(left);
      onStep?.(next.stepIndex, next.timesteps.length, slots);
    }
  }

  async release(): Promise<void> {
    await Promise.all([this.#conditioner.release(), this.#denoiser.release(), this.#vqModel.release()]);
  }
}

/** A slot's settings, as `VQDiffusionPipeline.makeSlot` takes them. */
export interface SlotInit extends Pick<
  DenoiseSlot,
  "tokens" | "seed" | "image" | "guidanceScale" | "truncationRate" | "prompt" | "negative"
> {
  readonly numInferenceSteps: number;
  readonly stepIndex?: number;
}
