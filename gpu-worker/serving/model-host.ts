// The models of a worker. As many stay loaded as fit into memory; the least recently used model is evicted.

import { freemem } from "node:os";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { type ModelManifest, modelKey } from "@vqd/shared/model.ts";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../checkpoint/errors.ts";
import type { CheckpointFolder } from "../checkpoint/files/folder.ts";
import { readKnownWords } from "../checkpoint/known-words.ts";
import { readModelCard } from "../checkpoint/model-card.ts";
import type { Golden } from "../checkpoint/golden.ts";
import type { Quantization } from "../graph/form.ts";
import type { SlotChoice } from "./auto-slots.ts";
import { isBatchInvariant, referenceSteps } from "./device-check.ts";
import { measuredSlots } from "./measured-slots.ts";
import { modelManifest } from "./manifest.ts";
import { ensurePalette } from "./palette.ts";
import { type PipelineInfo, VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import { selfCheck } from "./self-check.ts";
import { ServedModel, type ServedModelOptions } from "./served-model.ts";
import { gpuDevice } from "../runtime/device.ts";
import type { Provider } from "../runtime/session.ts";
import type { StallWatch } from "../watchdog/stall-watch.ts";
import { GroupLock } from "../util/group-lock.ts";
import { raceAbort } from "../util/race-abort.ts";

export interface ModelHostOptions extends Pick<ServedModelOptions, "passBytes" | "metrics" | "onBroken"> {
  /** Images in a pass that jobs share; auto measures what the device is best at. */
  readonly slots: number | "auto";
  readonly watch: StallWatch;
  readonly models: readonly ModelSource[];
  readonly provider: Provider;
  readonly quantization: Quantization;
  readonly threads: number;
  readonly cacheDir: string;
  /** Most bytes of weights loaded at once; a model in use stays loaded however large it is. */
  readonly memoryBytes: number;
  /** Wraps each load: building graphs and hashing weights may block the event loop for a while. */
  readonly whileLoading: <T>(load: () => Promise<T>) => Promise<T>;
  readonly log: Logger;
}

export interface ModelSource {
  /** Checkpoint folder. */
  readonly dir: string;
  /** `owner/name`; by default derived from the folder's name. */
  readonly name?: string | undefined;
}

/** A model that is served, whether loaded or not. */
export interface HostedModel {
  readonly key: string;
  readonly manifest: ModelManifest;
  /** What is announced of the tokenizer. */
  readonly tokenizer: Uint8Array;
  readonly info: PipelineInfo;
  readonly isLoaded: boolean;
  /** Running mean of the duration of a transformer pass, in ms; 0 before the first. */
  readonly stepMs: number;
  readonly slots: SlotChoice;
  /** Images that are denoised at once: those of a pass, and on a GPU as many that wait for the next. */
  readonly capacity: number;
  /** Whether an image has the same bits alone as in a batch; undefined on a CPU, where it always has. */
  readonly batchInvariant: boolean | undefined;
}

/** A model that stays loaded at least until it is released. */
export interface ModelInUse {
  readonly model: ServedModel;
  readonly release: () => void;
}

interface Entry {
  readonly source: ModelSource;
  readonly key: string;
  readonly manifest: ModelManifest;
  /** What is announced of the tokenizer. */
  readonly tokenizer: Uint8Array;
  readonly info: PipelineInfo;
  /** Set as soon as someone wants it; the load may still have to wait for room. */
  loaded: Promise<ServedModel> | undefined;
  readonly golden: Golden;
  readonly slots: SlotChoice;
  readonly batchInvariant: boolean | undefined;
  /** Whether it occupies memory. */
  isResident: boolean;
  users: number;
  usedAt: number;
  stepMs: () => number;
}

/** Per parameter; a block of 32 weights has a scale of two bytes. */
const WEIGHT_BYTES: Record<Quantization, number> = {
  none: 4,
  int8: 1,
  fp16: 2,
  w8a16: 1.0625,
  w4a16: 0.5625,
};

/** Approximate memory that a model's weights take. */
const weightBytes = ({
  parameters,
  quantization,
}: Pick<PipelineInfo, "parameters" | "quantization">): number => parameters * WEIGHT_BYTES[quantization];

export class ModelHost {
  readonly #options: ModelHostOptions;
  readonly #passLock = new GroupLock();
  readonly #entries = new Map<string, Entry>();
  /** Loads run one after the other: each must know how much memory the others have left. */
  #loading: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #onRelease = (): void => {};

  private constructor(options: ModelHostOptions) {
    this.#options = options;
  }

  /**
   * Loads each model once and checks it. If one of several cannot be served, it is left out and the log says why;
   * rejects if none is left.
   */
  static async open(options: ModelHostOptions): Promise<ModelHost> {
    const host = new ModelHost(options);
    let failure: unknown;
    for (const source of options.models) {
      try {
        await host.#add(source);
      } catch (error) {
        failure ??= error;
        if (options.models.length > 1) {
          options.log.error("a model cannot be served", { dir: source.dir, ...errorFields(error) });
        }
      }
    }
    if (host.#entries.size === 0) throw failure;
    return host;
  }

  get models(): HostedModel[] {
    return [...this.#entries.values()].map((entry) => this.#hosted(entry));
  }

  /** Throws an Error for the key of a model that this worker does not serve. */
  get(key: string): HostedModel {
    return this.#hosted(this.#entry(key));
  }

  isLoaded(key: string): boolean {
    return this.#entries.get(key)?.loaded !== undefined;
  }

  /** A model is waiting to be loaded until jobs of other models end: no more of those should be started. */
  get isCrowded(): boolean {
    return this.#waiting > 0;
  }

  /**
   * Loads the model if necessary, as soon as those in use leave room for it; it then stays at least until `release`.
   * Rejects when it cannot be loaded, and with the signal's reason if that aborts first.
   */
  async acquire(key: string, signal: AbortSignal): Promise<ModelInUse> {
    const entry = this.#entry(key);
    signal.throwIfAborted();
    entry.users++;
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      entry.users--;
      entry.usedAt = performance.now();
      this.#onRelease();
    };
    try {
      return { model: await raceAbort((entry.loaded ??= this.#load(entry)), signal), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Frees all models; none may be in use. */
  async close(): Promise<void> {
    await this.#loading;
    await Promise.all([...this.#entries.values()].map((entry) => this.#unload(entry)));
  }

  #entry(key: string): Entry {
    const entry = this.#entries.get(key);
    if (entry === undefined) throw new Error(`this worker does not serve the model ${key}`);
    return entry;
  }

  /** What a checkpoint says of itself beside its weights. Without it the model is served all the same. */
  #unlessDamaged<T>(read: (folder: CheckpointFolder) => T, { folder }: DiffusersCheckpoint): T | undefined {
    try {
      return read(folder);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      this.#options.log.warn("model card or words left out", errorFields(error));
      return undefined;
    }
  }

  async #add(source: ModelSource): Promise<void> {
    const { provider, quantization, threads, cacheDir, log } = this.#options;
    const startedAt = performance.now();
    // Known from the headers of its files, so that room can be made before it is loaded.
    const checkpoint = new DiffusersCheckpoint(source.dir);
    const parameters = checkpoint.parameters();
    await this.#makeRoom(weightBytes({ parameters, quantization }));
    const pipeline = await this.#pipeline(source);
    try {
      const palette = await ensurePalette(pipeline, cacheDir);
      const manifest = modelManifest(pipeline.info, palette, source.name, {
        card: this.#unlessDamaged(readModelCard, checkpoint),
        words: this.#unlessDamaged(readKnownWords, checkpoint),
      });
      const key = modelKey(manifest);
      if (this.#entries.has(key)) throw new Error(`${source.dir}: ${manifest.name} is listed twice`);
      log.info("model loaded", {
        model: manifest.name,
        version: manifest.version,
        provider,
        quantization,
        threads,
        seconds: Math.round(performance.now() - startedAt) / 1000,
      });
      const checked = await this.#check(source, pipeline);
      const slots = await this.#slots(pipeline);
      const { batchInvariant } = checked;
      const device =
        batchInvariant === undefined
          ? {}
          : { device: { slots: this.#capacity(slots), slotTimes: [...slots.times], batchInvariant } };
      const entry: Entry = {
        ...checked,
        slots,
        source,
        key,
        manifest: { ...manifest, ...device },
        tokenizer: checkpoint.announcement,
        info: pipeline.info,
        loaded: undefined,
        isResident: true,
        users: 0,
        usedAt: performance.now(),
        stepMs: () => 0,
      };
      entry.loaded = Promise.resolve(this.#serve(entry, pipeline));
      this.#entries.set(key, entry);
    } catch (error) {
      await pipeline.release();
      throw error;
    }
  }

  async #check(
    { dir }: ModelSource,
    pipeline: VQDiffusionPipeline,
  ): Promise<Pick<Entry, "golden" | "batchInvariant">> {
    const { watch, log, provider, whileLoading } = this.#options;
    const { golden, isRecorded } = await whileLoading(() => referenceSteps(dir, pipeline, this.#options));
    if (!isRecorded) log.info("the checkpoint has no golden.json: steps were computed to compare with");
    const { error, agreement } = await watch.run("pass", golden.cases.length, () =>
      selfCheck(pipeline, golden),
    );
    log.info("self-check passed", {
      error: Number(error.toPrecision(2)),
      agreement: Number(agreement.toFixed(4)),
    });
    if (provider === "cpu") return { golden, batchInvariant: undefined };
    const batchInvariant = await isBatchInvariant(pipeline, golden);
    if (!batchInvariant) {
      log.info(
        "images depend on their batch mates in the last bits here: a resumed one may differ from an uninterrupted one",
      );
    }
    return { golden, batchInvariant };
  }

  async #slots(pipeline: VQDiffusionPipeline): Promise<SlotChoice> {
    const { slots, cacheDir, log, provider } = this.#options;
    if (slots !== "auto") return { slots, largest: Infinity, times: [] };
    const choice = await measuredSlots(pipeline, cacheDir, {
      memoryBytes: provider === "cpu" ? freemem() : gpuDevice().memoryBytes,
      weightBytes: weightBytes(pipeline.info),
    });
    log.info("slots chosen by measurement", {
      slots: choice.slots,
      times: choice.times.map(({ images, ms }) => `${images}: ${ms?.toFixed(1) ?? "no memory"}`).join(", "),
    });
    return choice;
  }

  /** A GPU computes a pass while the results of the one before are used; on a CPU both take the same cores. */
  get #groups(): 1 | 2 {
    return this.#options.provider === "cpu" ? 1 : 2;
  }

  /** All sessions on WebGPU share a thread: a pass that waited there for anything else would look hung. */
  get #takesTurns(): boolean {
    return this.#options.provider === "webgpu";
  }

  #capacity({ slots }: SlotChoice): number {
    return this.#groups * slots;
  }

  #load(entry: Entry): Promise<ServedModel> {
    const load = async (): Promise<ServedModel> => {
      const { name: model } = entry.manifest;
      await this.#makeRoom(weightBytes(entry.info), entry);
      entry.isResident = true;
      const startedAt = performance.now();
      const reload = (): Promise<VQDiffusionPipeline> => this.#pipeline(entry.source);
      // Its own group for the lock: no pass of another model is made meanwhile.
      const pipeline = await (this.#takesTurns ? this.#passLock.run(reload, reload) : reload());
      if (pipeline.info.version !== entry.info.version) {
        await pipeline.release();
        throw new Error(`${entry.source.dir}: the checkpoint has changed since it was announced`);
      }
      const seconds = Math.round(performance.now() - startedAt) / 1000;
      this.#options.log.info("model reloaded", { model, seconds });
      return this.#serve(entry, pipeline);
    };
    const loaded = this.#loading.then(load).catch((error: unknown) => {
      if (entry.loaded === loaded) entry.loaded = undefined;
      entry.isResident = false;
      throw error;
    });
    this.#loading = loaded.catch(() => {});
    return loaded;
  }

  #pipeline({ dir }: ModelSource): Promise<VQDiffusionPipeline> {
    const { provider, quantization, threads, cacheDir, whileLoading } = this.#options;
    return whileLoading(() =>
      VQDiffusionPipeline.fromPretrained(dir, {
        provider,
        quantization,
        threads,
        cacheDir,
        ownThreads: true,
      }),
    );
  }

  #serve(entry: Entry, pipeline: VQDiffusionPipeline): ServedModel {
    const { slots, largest } = entry.slots;
    const served = new ServedModel(pipeline, {
      ...this.#options,
      maxSlots: slots,
      groups: this.#groups,
      // Where a slot was left empty on a GPU, nobody's step would be quicker.
      evenly: this.#options.provider === "cpu",
      takesTurns: this.#takesTurns,
      // As measured, with two rows for a guided image; the estimate of a pass's memory is for devices that were not.
      maxRows: 2 * largest,
      ...(largest === Infinity ? {} : { passBytes: Infinity }),
      verify: () => selfCheck(pipeline, entry.golden),
      name: entry.manifest.name,
      passLock: this.#passLock,
    });
    entry.stepMs = () => served.engine.stepMs;
    return served;
  }

  /**
   * Evicts unused models, the least recently used first, until `needed` bytes fit beside the rest. Rejects when nobody
   * wants the model any more that the room is `wanted` for.
   */
  async #makeRoom(needed: number, wanted?: Entry): Promise<void> {
    const { memoryBytes, log } = this.#options;
    for (;;) {
      if (wanted?.users === 0) {
        // Cleared right away: whoever asks from now on starts a new load.
        wanted.loaded = undefined;
        throw new Error(`the model ${wanted.key} is no longer wanted`);
      }
      const others = [...this.#entries.values()].filter(({ isResident }) => isResident);
      const bytes = others.reduce((sum, { info }) => sum + weightBytes(info), needed);
      // A model of any size is loaded if it is the only one.
      if (bytes <= memoryBytes || others.length === 0) return;
      const [oldest] = others.filter(({ users }) => users === 0).toSorted((a, b) => a.usedAt - b.usedAt);
      if (oldest === undefined) {
        this.#waiting++;
        await new Promise<void>((resolve) => (this.#onRelease = resolve));
        this.#waiting--;
      } else {
        await this.#unload(oldest);
        log.info("model evicted", { model: oldest.manifest.name });
      }
    }
  }

  async #unload(entry: Entry): Promise<void> {
    const { loaded } = entry;
    entry.loaded = undefined;
    await (await loaded)?.release();
    entry.isResident = false;
  }

  #hosted({ loaded, stepMs, ...entry }: Entry): HostedModel {
    const { key, manifest, tokenizer, info, slots, batchInvariant } = entry;
    return {
      key,
      manifest,
      tokenizer,
      info,
      slots,
      batchInvariant,
      capacity: this.#capacity(slots),
      isLoaded: loaded !== undefined,
      stepMs: stepMs(),
    };
  }
}
