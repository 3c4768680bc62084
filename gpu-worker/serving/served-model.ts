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
import type { GroupLock } from "../util/group-lock.ts";
import type { CallKind, StallWatch } from "../watchdog/stall-watch.ts";

export interface ServedModelOptions {
  readonly watch: StallWatch;
  /** Repeats steps whose results are known. Rejects if they are wrong, or cannot be computed. */
  readonly verify: () => Promise<unknown>;
  /** Called once, when a pass and then `verify` have failed: the device is broken, and no job is to blame. */
  readonly onBroken: (error: unknown) => void;
  /** Shared by all models: passes of two at once would only slow each other down, and need memory for both. */
  readonly passLock: GroupLock;
  readonly maxSlots: number;
  /** Of slots, that take turns on the device; see `EngineOptions`. */
  readonly groups: 1 | 2;
  /** Whether owners have equal shares of a pass; see `EngineOptions`. */
  readonly evenly: boolean;
  /** Whether images are decoded and encoded between passes instead of beside them, because one thread does both. */
  readonly takesTurns: boolean;
  /** Most rows of a pass, besides what `passBytes` allows. */
  readonly maxRows: number;
  /** Memory that a pass may take in addition to the weights, in bytes. */
  readonly passBytes: number;
  /** `owner/name`, for the metrics. */
  readonly name: string;
  readonly metrics: WorkerMetrics;
  readonly log: Logger;
}

const isTruncated = ({ truncationRate }: DenoiseSlot): boolean => truncationRate < 1;
const rowsOf = (slot: DenoiseSlot): number => (isGuided(slot) ? 2 : 1);

export class ServedModel {
  readonly engine: Engine<DenoiseSlot>;
  readonly #pipeline: VQDiffusionPipeline;
  readonly #options: ServedModelOptions;
  #isBroken = false;
  /** Rows of the passes that have begun and not ended. */
  #rowsInPasses = 0;
  /** When the last pass has ended: one that was begun before waited until then. */
  #endedAt = -Infinity;

  constructor(pipeline: VQDiffusionPipeline, options: ServedModelOptions) {
    const { maxSlots, groups, evenly, maxRows, passBytes, log } = options;
    this.#pipeline = pipeline;
    this.#options = options;
    this.engine = new Engine(
      { beginStep: (slots) => this.#beginStep(slots) },
      {
        maxSlots,
        groups,
        evenly,
        maxRows: Math.min(maxRows, Math.max(1, Math.floor(passBytes / pipeline.info.passBytesPerRow))),
        rowsOf,
        onSplit: (error, slots) =>
          log.warn("a pass failed; stepping its slots one by one", { slots, ...errorFields(error) }),
      },
    );
  }

  async #beginStep(slots: readonly DenoiseSlot[]): Promise<() => void> {
    const { watch, passLock, name, metrics } = this.#options;
    const startedAt = performance.now();
    const rows = slots.reduce((sum, slot) => sum + rowsOf(slot), 0);
    this.#rowsInPasses += rows;
    try {
      const begin = (): Promise<() => void> => this.#pipeline.beginStep(slots);
      const shape = `${name} ${slots.length}${slots.some(isTruncated) ? " truncated" : ""}`;
      const move = await passLock.run(this, () => watch.run("pass", this.#rowsInPasses, begin, shape));
      return () => {
        move();
        const endedAt = performance.now();
        metrics.passMade(name, slots, (endedAt - Math.max(startedAt, this.#endedAt)) / 1_000);
        this.#endedAt = endedAt;
      };
    } catch (error) {
      // Passes that fail with several slots are repeated with each alone, which tells more.
      if (slots.length === 1) await this.#blameDevice(error);
      throw error;
    } finally {
      this.#rowsInPasses -= rows;
    }
  }

  /** After a failed pass of one slot: throws a DeviceFailedError if steps with known results fail as well. */
  async #blameDevice(error: unknown): Promise<void> {
    const { watch, passLock, verify, onBroken } = this.#options;
    try {
      await passLock.run(this, () => watch.run("pass", 1 + this.#rowsInPasses, verify));
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
    return this.#options.watch.run("encode", promptIds.length, () => this.#pipeline.encodePrompt(promptIds));
  }

  encodeNegativePrompt(ids: readonly number[] | null): Promise<PromptConditioning> {
    return this.#options.watch.run("encode", 1, () => this.#pipeline.encodeNegativePrompt(ids));
  }

  prepareLatents(count: number): Uint16Array[] {
    return this.#pipeline.prepareLatents(count);
  }

  makeSlot(init: SlotInit): DenoiseSlot {
    return this.#pipeline.makeSlot(init);
  }

  /** An image of the model's size → codes [L]. */
  encodeImage(image: RgbImage): Promise<Uint16Array> {
    return this.#besidePasses("encode image", 1, () => this.#pipeline.encodeImage(image));
  }

  decode(latents: readonly Uint16Array[]): Promise<RgbImage[]> {
    return this.#besidePasses("decode", latents.length, () => this.#pipeline.decode(latents));
  }

  #besidePasses<T>(kind: CallKind, rows: number, work: () => Promise<T>): Promise<T> {
    const { watch, passLock, takesTurns, name } = this.#options;
    const watched = (): Promise<T> => watch.run(kind, rows, work, `${name} ${rows}`);
    // A group of its own for each. Its wait for a pass must not count as its own time, in which it would look hung.
    return takesTurns ? passLock.run(watched, watched) : watched();
  }

  release(): Promise<void> {
    return this.#pipeline.release();
  }
}
