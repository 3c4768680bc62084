// A loaded model as jobs use it: stepped by its own engine, with its native calls watched.

import { DeviceFailedError } from "./device-check.ts";
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
  /** Repeats steps whose results are known. Rejects if they are wrong, or cannot be computed. */
  readonly verify: () => Promise<unknown>;
  /** Called once, when a pass and then `verify` have failed: the device is broken, and no job is to blame. */
  readonly onBroken: (error: unknown) => void;
  /** Shared by all models: two passes at once would only slow each other down, and need memory for both. */
  readonly passMutex: Mutex;
  readonly maxSlots: number;
  /** Most rows of a pass, besides what `passBytes` allows. */
  readonly maxRows: number;
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
  #isBroken = false;

  constructor(pipeline: VQDiffusionPipeline, options: ServedModelOptions) {
    const { watch, passMutex, maxSlots, maxRows, passBytes, name, metrics, log } = options;
    this.#pipeline = pipeline;
    this.#watch = watch;
    const timed = metrics.timed(name, pipeline);
    const step = async (slots: readonly DenoiseSlot[]): Promise<void> => {
      const rows = slots.reduce((sum, slot) => sum + rowsOf(slot), 0);
      try {
        await passMutex.runExclusive(() => watch.run("pass", rows, () => timed.stepSlots(slots)));
      } catch (error) {
        // Passes that fail with several slots are repeated with each alone, which tells more.
        if (slots.length === 1) await this.#blameDevice(error, options);
        throw error;
      }
    };
    this.engine = new Engine(
      { stepSlots: step },
      {
        maxSlots,
        maxRows: Math.min(maxRows, Math.max(1, Math.floor(passBytes / pipeline.info.passBytesPerRow))),
        rowsOf,
        onSplit: (error, slots) =>
          log.warn("a pass failed; stepping its slots one by one", { slots, ...errorFields(error) }),
      },
    );
  }

  /** After a failed pass of one slot: throws a DeviceFailedError if steps with known results fail as well. */
  async #blameDevice(
    error: unknown,
    { watch, passMutex, verify, onBroken }: ServedModelOptions,
  ): Promise<void> {
    try {
      await passMutex.runExclusive(() => watch.run("pass", 1, verify));
    } catch (failure) {
      if (!this.#isBroken) onBroken(failure);
      this.#isBroken = true;
      throw new DeviceFailedError("the device fails steps with known results", { cause: error });
    }
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
