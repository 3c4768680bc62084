// VQ-Diffusion text to image: encodePrompt → prepareLatents → denoise → decode, each step public.

import { DigestCache } from "../checkpoint/digest-cache.ts";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { ensureGraphs } from "../graph/cache.ts";
import { graphForm, type Quantization } from "../graph/form.ts";
import type { Provider } from "../runtime/session.ts";
import { allOrNone } from "./all-or-none.ts";
import {
  type CallOptions,
  type ImagePipelineOutput,
  type OutputType,
  type OutputTypes,
  placeOfSeed,
  resolveCall,
} from "./call.ts";
import { type DenoiseSlot, Denoiser } from "./denoiser.ts";
import { InvalidInputError } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import { describeModel, type PipelineInfo } from "./info.ts";
import { LoadedModel } from "./loaded-model.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";
import { namedSchedulers, resolveScheduler } from "./sampling/schedulers.ts";
import { createSlot, type SlotInit } from "./slot.ts";
import type { PromptConditioning } from "./prompt-conditioning.ts";
import { TextConditioner } from "./text-conditioner.ts";
import { VQModel } from "./vq-model.ts";

export type { DenoiseSlot } from "./denoiser.ts";
export type { PipelineInfo } from "./info.ts";
export type { SlotInit } from "./slot.ts";
export type { PromptConditioning } from "./prompt-conditioning.ts";

export interface PipelineOptions {
  readonly provider?: Provider;
  /** Threads of the CPU provider. */
  readonly threads?: number;
  /** How the linear layers of transformer and text encoder are computed. */
  readonly quantization?: Quantization;
  /** Where built graphs are kept, and the digests of the weights. */
  readonly cacheDir: string;
  /** Memory for what the transformer sees of the prompts used last; by default 64 MiB. */
  readonly promptCacheBytes?: number;
  /**
   * Computes steps and pictures on threads of their own, so that this one stays free and a picture is decoded beside the
   * next step [false].
   */
  readonly ownThreads?: boolean;
}

const PROMPT_CACHE_BYTES = 64 * 1024 * 1024;

/** What a pipeline is made of: diffusers' `pipe.components`. */
export interface PipelineComponents {
  readonly model: LoadedModel;
  /** Used by calls and slots that name none. */
  readonly scheduler: DiffusionScheduler;
}

export class VQDiffusionPipeline {
  readonly info: PipelineInfo;
  readonly scheduler: DiffusionScheduler;
  readonly #loaded: LoadedModel;
  #released = false;

  private constructor({ model, scheduler }: PipelineComponents) {
    model.acquire();
    this.info = model.info;
    this.scheduler = scheduler;
    this.#loaded = model;
  }

  /**
   * Loads a checkpoint folder in the diffusers layout. Throws a CheckpointError naming the file when the folder
   * is incomplete or damaged, and says what is missing when the provider cannot run here.
   */
  static async fromPretrained(
    dir: string,
    {
      provider = "cpu",
      threads = 1,
      quantization = "none",
      cacheDir,
      promptCacheBytes = PROMPT_CACHE_BYTES,
      ownThreads = false,
    }: PipelineOptions,
  ): Promise<VQDiffusionPipeline> {
    const checkpoint = new DiffusersCheckpoint(dir);
    const version = checkpoint.version(new DigestCache(cacheDir));
    const graphs = ensureGraphs(checkpoint, version, { cacheDir, form: graphForm(provider, quantization) });
    const options = { provider, threads };
    const threaded = { ...options, ownThread: ownThreads };
    // Whatever else can throw comes before the sessions, which somebody would have to release.
    const info = describeModel(checkpoint, version, { provider, quantization });
    const schedulers = namedSchedulers(checkpoint.scheduler);
    const { mergesPath } = checkpoint.tokenizer;
    const [conditioner, denoiser, vqModel] = await allOrNone<[TextConditioner, Denoiser, VQModel]>([
      TextConditioner.load(checkpoint, graphs, { ...options, cacheBytes: promptCacheBytes }),
      Denoiser.load(checkpoint, graphs, threaded),
      VQModel.load(checkpoint, graphs, threaded),
    ]);
    const model = new LoadedModel({ info, mergesPath, schedulers, conditioner, denoiser, vqModel });
    return new VQDiffusionPipeline({ model, scheduler: schedulers.reference });
  }

  /**
   * Another pipeline of what is already loaded, as diffusers' `Pipeline(**pipe.components)`: for example
   * `fromComponents({ ...pipeline.components, scheduler })`. Nothing is loaded again. Each pipeline must be released,
   * in any order; the last one frees the sessions. Throws once they are freed.
   */
  static fromComponents(components: PipelineComponents): VQDiffusionPipeline {
    return new VQDiffusionPipeline(components);
  }

  /** What `fromComponents` takes: good for as long as a pipeline made of it lives. Throws after `release()`. */
  get components(): PipelineComponents {
    return { model: this.model, scheduler: this.scheduler };
  }

  /** What is loaded, part by part. Throws once the pipeline has been released. */
  get model(): LoadedModel {
    if (this.#released) throw new Error("the pipeline has been released");
    return this.#loaded;
  }

  /** Conditioning of one prompt per list of token ids, each of `info.textLength` ids. */
  encodePrompt(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    return this.model.conditioner.encode(promptIds);
  }

  /** What stands for "no prompt" in guidance: the model's own unconditional embedding, or a negative prompt's. */
  async encodeNegativePrompt(ids: readonly number[] | null): Promise<PromptConditioning> {
    if (ids === null) return this.model.conditioner.unconditional;
    const [conditioning] = await this.model.conditioner.encode([ids]);
    return conditioning ?? this.model.conditioner.unconditional;
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
    return this.model.denoiser.step(slots);
  }

  /** Class ids without masks → pictures. */
  decode(latents: readonly Uint16Array[]): Promise<RgbImage[]> {
    return this.model.vqModel.decode(latents);
  }

  /** A picture of the model's size → class ids. Throws InvalidInputError for any other. */
  encodeImage(image: RgbImage): Promise<Uint16Array> {
    return this.model.vqModel.encode(image);
  }

  /** Text → token ids as the model takes them: padded, or cut, to `info.textLength`. */
  tokenize(text: string): { ids: number[]; tokenCount: number; truncated: boolean } {
    return this.model.tokenizer.encodePadded(text, {
      maxLength: this.info.textLength,
      padTokenId: this.info.padTokenId,
    });
  }

  /** The whole way, as diffusers' `__call__`. Throws InvalidInputError; rejects with the signal's reason on abort. */
  async call<Type extends OutputType = "image">(
    options: CallOptions<Type>,
  ): Promise<ImagePipelineOutput<Type>> {
    const { prompts, count, seeds, numImagesPerPrompt, settings } = resolveCall(options, this.info);
    const latents = options.latents?.map((tokens) => tokens.slice()) ?? this.prepareLatents(count);
    if (latents.length !== count) {
      throw new InvalidInputError("latents", `must hold ${count} images, not ${latents.length}`);
    }
    options.signal?.throwIfAborted();
    const conditionings = await this.encodePrompt(prompts.map((prompt) => this.tokenize(prompt).ids));
    const negativeIds =
      options.negativePrompt === undefined ? null : this.tokenize(options.negativePrompt).ids;
    const negative = await this.encodeNegativePrompt(negativeIds);
    const slots = latents.map((tokens, index) => {
      const prompt = conditionings[Math.floor(index / numImagesPerPrompt)];
      const seed = seeds[index];
      if (prompt === undefined || seed === undefined) throw new Error(`nothing to make image ${index} of`);
      return this.makeSlot({
        ...settings,
        tokens,
        seed,
        image: placeOfSeed(seeds, index),
        prompt,
        negative,
      });
    });
    await this.denoise(slots, options);
    const images = await this.#output(latents, options);
    return { images: images as OutputTypes[Type][], latents, seeds };
  }

  /** A slot at step `stepIndex` (0 by default). Checks all settings against the model: throws InvalidInputError. */
  makeSlot(init: SlotInit): DenoiseSlot {
    const { schedulers } = this.model;
    return createSlot(init, resolveScheduler(init.scheduler ?? this.scheduler, schedulers), this.info);
  }

  /** Steps slots to the end, each from where it is: those that are done sit out the rest. */
  async denoise(
    slots: readonly DenoiseSlot[],
    { onStep, signal }: Pick<CallOptions, "onStep" | "signal"> = {},
  ): Promise<void> {
    for (;;) {
      const left = slots.filter((slot) => slot.stepIndex < slot.timesteps.length);
      const [next] = left;
      if (next === undefined) return;
      signal?.throwIfAborted();
      await this.stepSlots(left);
      onStep?.(next.stepIndex, next.timesteps.length, slots);
    }
  }

  /** Frees the sessions unless another pipeline shares them. Only `info` can be used afterwards. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await this.#loaded.release();
  }

  async #output(
    latents: readonly Uint16Array[],
    { outputType = "image", signal }: Pick<CallOptions, "outputType" | "signal">,
  ): Promise<(RgbImage | Uint8Array)[]> {
    const images: (RgbImage | Uint8Array)[] = [];
    if (outputType === "latents") return images;
    for (const codes of latents) {
      signal?.throwIfAborted();
      for (const image of await this.decode([codes])) images.push(outputType === "rgb" ? image.data : image);
    }
    return images;
  }
}
