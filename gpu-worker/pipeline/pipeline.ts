// VQ-Diffusion text to image: encodePrompt → prepareLatents → denoise → decode, each step public.

import { DigestCache } from "../checkpoint/files/digest-cache.ts";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { ensureGraphs } from "../graph/cache.ts";
import { modelForm, type Quantization } from "../graph/form.ts";
import type { Provider } from "../runtime/session.ts";
import { allOrNone } from "./all-or-none.ts";
import {
  type CallOptions,
  type ImagePipelineOutput,
  type OutputType,
  type OutputTypes,
  resolveCall,
} from "./call.ts";
import { type DenoiseSlot, Denoiser } from "./denoiser.ts";
import type { OpenSource } from "./editing/open-source.ts";
import { sourceOfCall } from "./editing/source-of-call.ts";
import { InvalidInputError } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import { placeOfSeed } from "@vqd/shared/sampling/seed.ts";
import { describeModel, type PipelineInfo } from "./info.ts";
import { LoadedModel } from "./loaded-model.ts";
import type { DiffusionScheduler } from "./sampling/scheduler.ts";
import { namedSchedulers } from "./sampling/schedulers.ts";
import { createSlot, type SlotInit } from "./slot.ts";
import { loadConditioner } from "./conditioning/load-conditioner.ts";
import type { Conditioner, PromptConditioning } from "./conditioning/prompt-conditioning.ts";
import { promptReader } from "./conditioning/prompt-reader.ts";
import { VQModel } from "./vq-model.ts";

export type { DenoiseSlot } from "./denoiser.ts";
export type { PipelineInfo } from "./info.ts";
export type { SlotInit } from "./slot.ts";
export type { PromptConditioning } from "./conditioning/prompt-conditioning.ts";

export interface PipelineOptions {
  readonly provider?: Provider;
  /** Threads of the CPU provider. */
  readonly threads?: number;
  /** How the linear layers of transformer and text encoder are computed. */
  readonly quantization?: Quantization;
  /** Whether the transformer's graph draws, so that only token ids leave the device [on GPUs]; not with int8. */
  readonly drawsOnDevice?: boolean;
  /** Folder for built graphs, and for the digests of weights. */
  readonly cacheDir: string;
  /** Memory for the conditionings of the most recently used prompts [64 MiB]. */
  readonly promptCacheBytes?: number;
  /**
   * Computes steps and images on threads of their own, so that the calling thread stays free and an image is decoded during
   * the next step [false].
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
   * Loads a checkpoint folder in the diffusers layout. Throws a CheckpointError that names the file if the folder is
   * incomplete or damaged, and an Error that says what is missing if the provider cannot run here.
   */
  static async fromPretrained(
    dir: string,
    {
      provider = "cpu",
      threads = 1,
      quantization = "none",
      drawsOnDevice,
      cacheDir,
      promptCacheBytes = PROMPT_CACHE_BYTES,
      ownThreads = false,
    }: PipelineOptions,
  ): Promise<VQDiffusionPipeline> {
    const checkpoint = new DiffusersCheckpoint(dir);
    const version = checkpoint.version(new DigestCache(cacheDir));
    const form = modelForm(checkpoint.prompts.kind, provider, quantization, drawsOnDevice);
    const graphs = ensureGraphs(checkpoint, version, { cacheDir, form });
    const options = { provider, threads };
    const threaded = { ...options, ownThread: ownThreads };
    // Everything else that can throw comes before the sessions, which would have to be released.
    const info = describeModel(checkpoint, version, { provider, form });
    const schedulers = namedSchedulers(checkpoint.scheduler);
    const tokenize = promptReader(checkpoint.prompts);
    const [conditioner, denoiser, vqModel] = await allOrNone<[Conditioner, Denoiser, VQModel]>([
      loadConditioner(checkpoint, graphs, {
        ...options,
        cacheBytes: promptCacheBytes,
        takesIds: form.drawsOnDevice,
      }),
      Denoiser.load(checkpoint, graphs, { ...threaded, drawsOnDevice: form.drawsOnDevice }),
      VQModel.load(checkpoint, graphs, threaded),
    ]);
    const model = new LoadedModel({ info, tokenize, schedulers, conditioner, denoiser, vqModel });
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

  /** The loaded model, part by part. Throws once the pipeline has been released. */
  get model(): LoadedModel {
    if (this.#released) throw new Error("the pipeline has been released");
    return this.#loaded;
  }

  /** The conditioning of each prompt, given as `info.textLength` token ids. */
  encodePrompt(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    return this.model.conditioner.encode(promptIds);
  }

  /** The "no prompt" side of guidance: the conditioning of a negative prompt, or for null the model's own unconditional one. */
  async encodeNegativePrompt(ids: readonly number[] | null): Promise<PromptConditioning> {
    if (ids === null) return this.model.conditioner.unconditional;
    const [conditioning] = await this.model.conditioner.encode([ids]);
    return conditioning ?? this.model.conditioner.unconditional;
  }

  /** `count` fully masked images. */
  prepareLatents(count: number): Uint16Array[] {
    const { latentHeight, latentWidth, numEmbeddings } = this.info;
    return Array.from({ length: count }, () =>
      new Uint16Array(latentHeight * latentWidth).fill(numEmbeddings),
    );
  }

  /** Makes one denoising step of each slot, in one pass and in place. Slots may be at different timesteps. */
  stepSlots(slots: readonly DenoiseSlot[]): Promise<void> {
    return this.model.denoiser.step(slots);
  }

  /** Begins that step, and resolves to a function that completes it: a step of other slots may be begun in between. */
  beginStep(slots: readonly DenoiseSlot[]): Promise<() => void> {
    return this.model.denoiser.begin(slots);
  }

  /** Class ids without masks → images. */
  decode(latents: readonly Uint16Array[]): Promise<RgbImage[]> {
    return this.model.vqModel.decode(latents);
  }

  /** An image of the model's size → class ids. Throws InvalidInputError for any other size. */
  encodeImage(image: RgbImage): Promise<Uint16Array> {
    return this.model.vqModel.encode(image);
  }

  /**
   * Text → token ids for the model: padded or truncated to `info.textLength`. For a model that is conditioned by class, the
   * text is the name of a class or its label; for one that is not conditioned, it is empty. Throws InvalidInputError for
   * others.
   */
  tokenize(text: string): { ids: number[]; tokenCount: number; truncated: boolean } {
    return this.model.tokenize(text);
  }

  /** From prompts to images, like diffusers' `__call__`. Rejects with an InvalidInputError, or with the signal's reason. */
  async call<Type extends OutputType = "image">(
    options: CallOptions<Type>,
  ): Promise<ImagePipelineOutput<Type>> {
    const { prompts, count, seeds, numImagesPerPrompt, settings } = resolveCall(options, this.info);
    options.signal?.throwIfAborted();
    const { info } = this;
    const source = await sourceOfCall(options, { info, encodeImage: (image) => this.encodeImage(image) });
    const given = await source?.tokens();
    const latents = given === undefined ? this.prepareLatents(count) : repeated(given, count);
    options.signal?.throwIfAborted();
    const conditionings = await this.encodePrompt(prompts.map((prompt) => this.tokenize(prompt).ids));
    const negativeIds = options.negativePrompt?.trim() ? this.tokenize(options.negativePrompt).ids : null;
    const negative = await this.encodeNegativePrompt(negativeIds);
    const slots = latents.map((tokens, index) => {
      const prompt = conditionings[Math.floor(index / numImagesPerPrompt)];
      const seed = seeds[index];
      if (prompt === undefined || seed === undefined)
        throw new Error(`image ${index} has no prompt or no seed`);
      return this.makeSlot({
        ...settings,
        tokens,
        held: source?.held,
        start: source?.start,
        seed,
        image: placeOfSeed(seeds, index),
        prompt,
        negative,
      });
    });
    options.onStart?.(slots);
    await this.denoise(slots, options);
    const images = await this.#output(latents, options, source);
    return { images: images as OutputTypes[Type][], latents, seeds };
  }

  /** A slot at step `stepIndex` [0]. Checks all settings against the model and throws InvalidInputError. */
  makeSlot(init: SlotInit): DenoiseSlot {
    return createSlot(init, { own: this.scheduler, named: this.model.schedulers }, this.info);
  }

  /** Steps slots to the end, each from its current step; finished ones are left out. */
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
    source: OpenSource | undefined,
  ): Promise<(RgbImage | Uint8Array)[]> {
    const images: (RgbImage | Uint8Array)[] = [];
    if (outputType === "latents") return images;
    for (const codes of latents) {
      signal?.throwIfAborted();
      for (const decoded of await this.decode([codes])) {
        const image = (await source?.blend?.(decoded, decoded)) ?? decoded;
        images.push(outputType === "rgb" ? image.data : image);
      }
    }
    return images;
  }
}

/** One array of class ids for each of `count` images, none of them shared. Throws an InvalidInputError for any other number but 1. */
export function repeated(tokens: readonly Uint16Array[], count: number): Uint16Array[] {
  const [only] = tokens;
  if (tokens.length === 1 && only !== undefined) return Array.from({ length: count }, () => only.slice());
  if (tokens.length === count) return tokens.slice();
  throw new InvalidInputError("latents", `must hold one image or ${count}, not ${tokens.length}`);
}
