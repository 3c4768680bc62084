// Runs one job from token ids to encoded images, and reports its progress through its publisher.

import { setTimeout as delay } from "node:timers/promises";
import { decodeTokens, encodeTokens } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { fromJsonSeed, placeOfSeed } from "@vqd/shared/sampling/seed.ts";
import type { Broker, StoredState } from "../nats/broker.ts";
import type { JobSubjects } from "../nats/job-subjects.ts";
import { encodeTokensFile } from "@vqd/shared/editing/tokens-file.ts";
import { InvalidInputError } from "../pipeline/errors.ts";
import type { OpenSource } from "../pipeline/editing/open-source.ts";
import type { RgbImage } from "../pipeline/image.ts";
import { type DenoiseSlot, repeated } from "../pipeline/pipeline.ts";
import type { ModelHost } from "../serving/model-host.ts";
import { type FileEncoder, fileEncoder } from "./file-encoder.ts";
import { Previews } from "./previews.ts";
import type { JobReporter, ResumePoint, StartedBody } from "./reporter.ts";
import { makesNoStep, openSource } from "./source.ts";
import type { ServedModel } from "../serving/served-model.ts";
import { traced } from "../telemetry/tracing.ts";
import { raceAbort } from "../util/race-abort.ts";

/** The caller canceled the prediction. */
export class CanceledError extends Error {
  override readonly name = "CanceledError";
  constructor() {
    super("the prediction was canceled");
  }
}

/** The worker is shutting down and hands its jobs back. */
export class DrainError extends Error {
  override readonly name = "DrainError";
  constructor() {
    super("the worker is draining");
  }
}

/** The hub wants the job back, so that another owner's can start. */
export class YieldError extends Error {
  override readonly name = "YieldError";
  constructor() {
    super("the job was asked back");
  }
}

/** The seed of each image. */
function seedsOf(job: Job): (number | bigint)[] {
  const seeds = job.seeds ?? new Array<Job["seed"]>(imageCount(job)).fill(job.seed);
  return seeds.map(fromJsonSeed);
}

export interface JobRunnerOptions {
  readonly models: ModelHost;
  readonly broker: Broker;
  readonly workerName: string;
  readonly log: Logger;
}

/** One attempt at a job. */
export interface JobRun {
  readonly job: Job;
  /** What the job's images start from; empty if it has no source. */
  readonly source: Uint8Array<ArrayBuffer>;
  readonly modelKey: string;
  readonly publisher: JobReporter;
  readonly signal: AbortSignal;
  readonly resume: ResumePoint | undefined;
  /** Whether its hub wants to know what it begins with. */
  readonly saysBeginning: boolean;
  /** The same for all jobs of an owner; undefined if the hub does not say. */
  readonly owner: string | undefined;
  /** Called when its slots are free; what remains is decoding and encoding. */
  readonly onDenoised: () => void;
}

/** How often, and with what pause, reading a job's stored state is attempted. */
const STATE_READ_ATTEMPTS = 3;
const STATE_READ_RETRY_MS = 500;

/** Which messages of a job name the one before them. */
export type FencedBy = "events" | "states";

/** What an attempt finds of earlier ones. */
export interface Beginning {
  readonly stored: StoredState | undefined;
  readonly fencedBy: FencedBy;
}

const fenceOf = ({ isBatched }: JobSubjects): FencedBy => (isBatched ? "events" : "states");

/** A job that was begun by states goes on that way: a fence must not be in two places. */
async function beginningOf(broker: Broker, subjects: JobSubjects): Promise<Beginning> {
  const fencedBy = fenceOf(subjects);
  if (fencedBy === "states") return { stored: await broker.lastState(subjects.states), fencedBy };
  const [state, batch] = await Promise.all([
    broker.lastState(subjects.states),
    broker.lastBatch(subjects.event),
  ]);
  return state === undefined ? { stored: batch, fencedBy } : { stored: state, fencedBy: "states" };
}

export class JobRunner {
  readonly #options: JobRunnerOptions;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /**
   * What another attempt at this job has left; nothing if it cannot be read, or if `signal` aborts first: starting over costs time
   * but never changes the result.
   */
  async loadState(job: Job, subjects: JobSubjects, signal: AbortSignal): Promise<Beginning> {
    const { broker, log } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await raceAbort(beginningOf(broker, subjects), signal);
      } catch (error) {
        const nothing = { stored: undefined, fencedBy: fenceOf(subjects) };
        if (signal.aborted) return nothing;
        if (attempt === STATE_READ_ATTEMPTS) {
          log.warn("cannot read the job's state; starting over", {
            prediction: job.id,
            ...errorFields(error),
          });
          return nothing;
        }
        await delay(STATE_READ_RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** What an attempt says with its claim. `yields`: whether its hub may ask for the job. */
  startedOf(job: Job, modelKey: string, resume: ResumePoint | undefined, yields: boolean): StartedBody {
    return {
      type: "started",
      worker: this.#options.workerName,
      numericsId: this.#options.models.get(modelKey).info.numericsId,
      resumedFrom: resume?.step ?? 0,
      total: job.numInferenceSteps,
      ...(yields ? { yields } : {}),
    };
  }

  /**
   * Denoises, decodes and publishes all images of the job, continuing from `resume`. Calls `onDenoised` when the job
   * needs no more passes. Rejects with the signal's reason when it aborts, and with a non-retryable VqdError when the
   * job does not fit the model.
   */
  async run(run: JobRun): Promise<void> {
    const { models } = this.#options;
    const { modelKey, publisher, signal } = run;
    const startedAt = performance.now();
    try {
      const { model, release } = await traced("acquire model", {}, () => models.acquire(modelKey, signal));
      try {
        signal.throwIfAborted();
        await this.#makeImages(run, model);
      } finally {
        release();
      }
    } catch (error) {
      // The pipeline rejects a job that does not fit its model; every other worker of that model would do the same.
      if (error instanceof InvalidInputError)
        throw new VqdError("invalid_input", error.message, { cause: error });
      throw error;
    }
    publisher.publish({ type: "succeeded", predictSeconds: (performance.now() - startedAt) / 1000 });
  }

  /** A state is used only if it was made with the same numerics: otherwise the result would depend on the mix. */
  usableState(job: Job, modelKey: string, stored: StoredState | undefined): ResumePoint | undefined {
    // Before its first step a job has no tokens yet.
    const state = stored?.value;
    if (stored === undefined || state === undefined || state.step === 0) return undefined;
    const { info, batchInvariant } = this.#options.models.get(modelKey);
    const { step, numericsId } = state;
    const startOver = (why: string): undefined => {
      this.#options.log.warn(`the job's state ${why}; starting over`, { prediction: job.id, numericsId });
    };
    if (numericsId !== info.numericsId) return startOver("was made with different numerics");
    const bytes = imageCount(job) * info.latentHeight * info.latentWidth * Uint16Array.BYTES_PER_ELEMENT;
    if (stored.attachment.length !== bytes || step > job.numInferenceSteps) {
      return startOver("does not fit the job");
    }
    const tokens = decodeTokens(stored.attachment);
    // The mask is the class after the codes.
    if (tokens.some((token) => token > info.numEmbeddings)) return startOver("holds unknown classes");
    if (batchInvariant === false) {
      this.#options.log.info("the job continues, but not to the bit as if it had not been interrupted", {
        prediction: job.id,
        step,
      });
    }
    return { step, tokens };
  }

  async #makeImages(run: JobRun, model: ServedModel): Promise<void> {
    const { job, publisher, signal, onDenoised } = run;
    const { log } = this.#options;
    const source = await this.#openSource(run, model);
    const encode = fileEncoder(job, source?.blend);
    const previews = new Previews({ pipeline: model, job, encode, publisher, signal, log });
    const slots = await this.#makeSlots(run, model, { previews, source });
    signal.throwIfAborted();
    try {
      await this.#denoise(slots, run, model, previews);
    } finally {
      // Also after a failure: nothing may still be decoding when the worker releases the model.
      onDenoised();
      await previews.settled();
    }
    await this.#publishImages(slots, run, { model, encode });
  }

  async #openSource({ job, source: bytes }: JobRun, model: ServedModel): Promise<OpenSource | undefined> {
    const { source } = job;
    if (source === undefined) return undefined;
    const encodeImage = (image: RgbImage): Promise<Uint16Array> => model.encodeImage(image);
    return traced("open source", { "vqd.source": source.type }, () =>
      openSource(job, source, bytes, { info: model.info, encodeImage }),
    );
  }

  /** One slot per image: at the step of the state to resume from, where the source puts it, or fully masked. */
  async #makeSlots(
    { job, resume }: JobRun,
    model: ServedModel,
    { previews, source }: { previews: Previews; source: OpenSource | undefined },
  ): Promise<DenoiseSlot[]> {
    const count = imageCount(job);
    const given = resume === undefined ? await source?.tokens() : undefined;
    const latents = given === undefined ? model.prepareLatents(count) : repeated(given, count);
    // Nobody reads the prompts of a job that makes no step.
    const idle = source !== undefined && makesNoStep(job, source);
    const [prompts, negative] = await traced(
      "encode prompts",
      { "vqd.prompts": idle ? 0 : job.prompts.length },
      async () => {
        if (idle) {
          const unconditional = await model.encodeNegativePrompt(null);
          return [job.prompts.map(() => unconditional), unconditional] as const;
        }
        return [
          await model.encodePrompt(job.prompts),
          await model.encodeNegativePrompt(job.negativePrompt),
        ] as const;
      },
    );
    const pixels = model.info.latentHeight * model.info.latentWidth;
    const seeds = seedsOf(job);
    return latents.map((tokens, image) => {
      const prompt = prompts[Math.floor(image / job.numImagesPerPrompt)];
      if (prompt === undefined)
        throw new InvalidInputError("prompts", "has too few entries for the number of images");
      return model.makeSlot({
        tokens: resume?.tokens.slice(image * pixels, (image + 1) * pixels) ?? tokens,
        held: source?.held,
        ...(resume === undefined ? { start: source?.start } : { stepIndex: resume.step }),
        image: placeOfSeed(seeds, image),
        prompt,
        negative,
        numInferenceSteps: job.numInferenceSteps,
        guidanceScale: job.guidanceScale,
        truncationRate: job.truncationRate,
        seed: seeds[image] ?? outOfBounds(),
        scheduler: job.scheduler,
        inferSpeed: job.inferSpeed,
        order: job.order,
        remasking: job.remasking,
        temperature: job.temperature,
        priorRule: job.priorRule,
        priorWeight: job.priorWeight,
        mostLikely: previews.mostLikely(image),
      });
    });
  }

  async #denoise(
    slots: readonly DenoiseSlot[],
    { publisher, signal, resume, saysBeginning, owner }: JobRun,
    model: ServedModel,
    previews: Previews,
  ): Promise<void> {
    const [first] = slots;
    if (first === undefined) return;
    const pixels = first.tokens.length;
    const maskClass = model.info.numEmbeddings;
    // A copy: the slots take further steps while an event is being published.
    const allTokens = (): Uint16Array => {
      const tokens = new Uint16Array(slots.length * pixels);
      for (const [image, slot] of slots.entries()) tokens.set(slot.tokens, image * pixels);
      return tokens;
    };
    const report = (): void => {
      const tokens = allTokens();
      publisher.publishStep(
        {
          type: "step",
          step: first.stepIndex,
          total: first.timesteps.length,
          timestep: first.timesteps[first.stepIndex - 1] ?? outOfBounds(),
          masked: tokens.reduce((count, token) => count + (token === maskClass ? 1 : 0), 0),
          images: slots.length,
        },
        tokens,
      );
    };
    const onStep = (): void => {
      report();
      previews.afterStep(first.stepIndex);
    };
    if (resume === undefined && saysBeginning) {
      const held = first.held?.join("") ?? null;
      publisher.publish(
        { type: "beginning", step: first.stepIndex, images: slots.length, held },
        encodeTokens(allTokens()),
      );
    }
    // The state that a source begins with: it can be forked like others, and is all that there is to read if no step is left.
    if (resume === undefined && first.stepIndex > 0) report();
    const attributes = { "vqd.steps": first.timesteps.length - first.stepIndex, "vqd.images": slots.length };
    await traced("denoise", attributes, () => model.engine.run(slots, signal, onStep, owner));
  }

  async #publishImages(
    slots: readonly DenoiseSlot[],
    { job, publisher, signal }: JobRun,
    { model, encode }: { model: ServedModel; encode: FileEncoder | undefined },
  ): Promise<void> {
    for (const [index, slot] of slots.entries()) {
      signal.throwIfAborted();
      const seed = job.seeds?.[index] ?? job.seed;
      if (encode === undefined) {
        const { version, latentHeight: height, latentWidth: width, numEmbeddings } = model.info;
        const file = encodeTokensFile({ version, height, width, tokens: slot.tokens }, numEmbeddings + 1);
        publisher.publish({ type: "output", index, format: "tokens", width, height, seed }, file);
        continue;
      }
      const [image] = await traced("decode image", { "vqd.image": index }, () => model.decode([slot.tokens]));
      if (image === undefined) throw new Error("the decoder returned no image");
      const { bytes, ...file } = await traced("encode file", { "vqd.format": job.outputFormat }, () =>
        encode(image),
      );
      publisher.publish({ type: "output", index, ...file, seed }, bytes);
    }
  }
}
