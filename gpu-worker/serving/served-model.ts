// A loaded model as jobs use it: stepped by its own engine, with its native calls watched.

import { Engine } from "./engine.ts";
import type { Logger } from "@vqd/shared/log.ts";
import { errorFields } from "@vqd/shared/log.ts";
import { isGuided } from "../pipeline/denoiser.ts";
import type { RgbImage } from "../pipeline/image.ts";
import type {
  DenoiseSlot,
  PipelineInfo,
  PromptConditioning,
  SlotInit,
  VQDiffusionPipeline,
} from "../pipeline/pipeline.ts";
import type { WorkerMetrics } from "../telemetry/metrics.ts";
import type { Mutex } from "../util/mutex.ts";
import type { StallWatch } from "../watchdog/stall-watch.ts";

export interface ServedModelOptions {
  readonly watch: StallWatch;
  /** Shared by all models: two passes at once would only slow each other down, and need memory for both. */
  readonly passMutex: Mutex;
  readonly maxSlots: number;
  /** Memory that a pass may take in addition to the weights, in bytes. */
  readonly passBytes: number;
  /** `owner/name`, for the metrics. */
  readonly name: string;
  readonly metrics: WorkerMetrics;
  readonly log: Logger;
}

const rowsOf = (slot: DenoiseSlot): number => (isGuided(slot) ? 2 : 1);

export class ServedModel {
  readonly engine: Engine<DenoiseSlot>;
  readonly #pipeline: VQDiffusionPipeline;
  readonly #watch: StallWatch;

  constructor(pipeline: VQDiffusionPipeline, options: ServedModelOptions) {
    const { watch, passMutex, maxSlots, passBytes, name, metrics, log } = options;
    this.#pipeline = pipeline;
    this.#watch = watch;
    const timed = metrics.timed(name, pipeline);
    const step = (slots: readonly DenoiseSlot[]): Promise<void> => {
      const rows = slots.reduce((sum, slot) => sum + rowsOf(slot), 0);
      return passMutex.runExclusive(() => watch.run("pass", rows, () => timed.stepSlots(slots)));
    };
    this.engine = new Engine(
      { stepSlots: step },
      {
        maxSlots,
        maxRows: Math.max(1, Math.floor(passBytes / pipeline.info.passBytesPerRow)),
        rowsOf,
        onSplit: (error, slots) =>
          log.warn("a pass failed; stepping its slots one by one", { slots, ...errorFields(error) }),
      },
    );
  }

  get info(): PipelineInfo {
    return this.#pipeline.info;
  }

  encodePrompt(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    return this.#watch.run("encode", promptIds.length, () => this.#pipeline.encodePrompt(promptIds));
  }

  encodeNegativePrompt(ids: readonly number[] | null): Promise<PromptConditioning> {
    return this.#watch.run("encode", 1, () => this.#pipeline.encodeNegativePrompt(ids));
  }

  prepareLatents(count: number): Uint16Array[] {
    return this.#pipeline.prepareLatents(count);
  }

  makeSlot(init: SlotInit): DenoiseSlot {
    return this.#pipeline.makeSlot(init);
  }

  /** An image of the model's size → codes [L]. */
  encodeImage(image: RgbImage): Promise<Uint16Array> {
    return this.#watch.run("encode image", 1, () => this.#pipeline.encodeImage(image));
  }

  decode(latents: readonly Uint16Array[]): Promise<RgbImage[]> {
    return this.#watch.run("decode", latents.length, () => this.#pipeline.decode(latents));
  }

  release(): Promise<void> {
    return this.#pipeline.release();
  }
}
