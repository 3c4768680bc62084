// Runs one job from token ids to encoded images, and says what happens through its publisher.

import { setTimeout as delay } from "node:timers/promises";
import type { Framed } from "@vqd/shared/codec.ts";
import { decodeTokens } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import type { JobState } from "@vqd/shared/events.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Broker } from "./broker.ts";
import type { Engine } from "./engine.ts";
import { InvalidInputError } from "./pipeline/errors.ts";
import { encodeImageFile } from "./pipeline/image.ts";
import type { DenoiseSlot, VQDiffusionPipeline } from "./pipeline/pipeline.ts";
import { Previews } from "./previews.ts";
import type { JobPublisher } from "./publisher.ts";
import { traced } from "./tracing.ts";

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

export interface JobRunnerOptions {
  readonly pipeline: VQDiffusionPipeline;
  readonly engine: Engine<DenoiseSlot>;
  readonly broker: Broker;
  readonly workerName: string;
  readonly log: Logger;
}

/** How often, and after what pause, the stored state of a redelivered job is asked for. */
const STATE_READ_ATTEMPTS = 3;
const STATE_READ_RETRY_MS = 500;

export class JobRunner {
  readonly #options: JobRunnerOptions;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  get numericsId(): string {
    return this.#options.pipeline.info.numericsId;
  }

  /**
   * The newest state that another attempt at this job has left. Without an answer the job starts over, which
   * costs time but never changes the result.
   */
  async loadState(job: Job, signal: AbortSignal): Promise<Framed<JobState> | undefined> {
    const { broker, log } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await broker.lastState(job.id);
      } catch (error) {
        signal.throwIfAborted();
        if (attempt === STATE_READ_ATTEMPTS) {
          log.warn("cannot read the job's state, starting over", {
            prediction: job.id,
            ...errorFields(error),
          });
          return undefined;
        }
        await delay(STATE_READ_RETRY_MS, undefined, { signal });
      }
    }
  }

  /**
   * Denoises, decodes and publishes all images of the job. Rejects with the signal's reason when it aborts,
   * and with a non-retryable VqdError when the job does not fit the model.
   */
  async run(job: Job, publisher: JobPublisher, stop: AbortSignal, stored?: Framed<JobState>): Promise<void> {
    const { workerName } = this.#options;
    const startedAt = performance.now();
    const deadline = AbortSignal.timeout(Math.max(0, job.deadlineAt - Date.now()));
    const signal = AbortSignal.any([stop, deadline]);
    const resume = this.#usableState(job, stored);
    publisher.publish({
      type: "started",
      worker: workerName,
      numericsId: this.numericsId,
      resumedFrom: resume?.step ?? 0,
      total: job.numInferenceSteps,
    });
    try {
      const previews = new Previews({ ...this.#options, job, publisher, signal });
      const slots = await this.#makeSlots(job, resume, previews);
      signal.throwIfAborted();
      // Also after a failure: nothing may still be decoded when the worker lets go of the model.
      await this.#denoise(slots, publisher, signal, previews).finally(() => previews.settled());
      await this.#publishImages(job, slots, publisher, signal);
    } catch (error) {
      if (error === deadline.reason) {
        throw new VqdError("deadline_exceeded", "the prediction did not finish before its deadline", {
          cause: error,
        });
      }
      // The pipeline refuses a job that does not fit its model; no other worker of that model would take it.
      if (error instanceof InvalidInputError)
        throw new VqdError("invalid_input", error.message, { cause: error });
      throw error;
    }
    publisher.publish({ type: "succeeded", predictSeconds: (performance.now() - startedAt) / 1000 });
  }

  /** A state counts only if it was made with the same numerics: else the result would depend on the mix. */
  #usableState(
    job: Job,
    stored: Framed<JobState> | undefined,
  ): { step: number; tokens: Uint16Array } | undefined {
    const { log, pipeline } = this.#options;
    if (stored === undefined) return undefined;
    const { value: state, attachment } = stored;
    const tokens = decodeTokens(attachment);
    const expected = imageCount(job) * pipeline.info.latentHeight * pipeline.info.latentWidth;
    if (
      state.numericsId !== this.numericsId ||
      tokens.length !== expected ||
      state.step > job.numInferenceSteps
    ) {
      log.warn("the job's state was made by another kind of worker, starting over", {
        prediction: job.id,
        numericsId: state.numericsId,
      });
      return undefined;
    }
    return { step: state.step, tokens };
  }

  /** One slot per image, at the step of the state to resume from, or all masked. */
  async #makeSlots(
    job: Job,
    resume: { step: number; tokens: Uint16Array } | undefined,
    previews: Previews,
  ): Promise<DenoiseSlot[]> {
    const { pipeline } = this.#options;
    const [prompts, negative] = await traced(
      "encode prompts",
      { "vqd.prompts": job.prompts.length },
      async () =>
        [
          await pipeline.encodePrompt(job.prompts),
          await pipeline.encodeNegativePrompt(job.negativePrompt),
        ] as const,
    );
    const pixels = pipeline.info.latentHeight * pipeline.info.latentWidth;
    return pipeline.prepareLatents(imageCount(job)).map((masked, image) => {
      const prompt = prompts[Math.floor(image / job.numImagesPerPrompt)];
      if (prompt === undefined)
        throw new InvalidInputError("prompts", "has fewer entries than images were asked for");
      return pipeline.makeSlot({
        tokens: resume?.tokens.slice(image * pixels, (image + 1) * pixels) ?? masked,
        stepIndex: resume?.step ?? 0,
        image,
        prompt,
        negative,
        numInferenceSteps: job.numInferenceSteps,
        guidanceScale: job.guidanceScale,
        truncationRate: job.truncationRate,
        seed: job.seed,
        scheduler: job.scheduler,
        priorRule: job.priorRule,
        priorWeight: job.priorWeight,
        mostLikely: previews.mostLikely(image),
      });
    });
  }

  async #denoise(
    slots: readonly DenoiseSlot[],
    publisher: JobPublisher,
    signal: AbortSignal,
    previews: Previews,
  ): Promise<void> {
    const { engine, pipeline } = this.#options;
    const [first] = slots;
    if (first === undefined) return;
    const pixels = first.tokens.length;
    const maskClass = pipeline.info.numEmbeddings;
    const onStep = (): void => {
      // A copy: the slots are stepped on while this one is on its way.
      const tokens = new Uint16Array(slots.length * pixels);
      for (const [image, slot] of slots.entries()) tokens.set(slot.tokens, image * pixels);
      publisher.publishStep(
        {
          type: "step",
          step: first.stepIndex,
          total: first.timesteps.length,
          timestep: first.timesteps[first.stepIndex - 1] ?? 0,
          masked: tokens.reduce((count, token) => count + (token === maskClass ? 1 : 0), 0),
          images: slots.length,
        },
        tokens,
      );
      previews.afterStep(first.stepIndex);
    };
    const attributes = { "vqd.steps": first.timesteps.length - first.stepIndex, "vqd.images": slots.length };
    await traced("denoise", attributes, () => engine.run(slots, signal, onStep));
  }

  async #publishImages(
    job: Job,
    slots: readonly DenoiseSlot[],
    publisher: JobPublisher,
    signal: AbortSignal,
  ): Promise<void> {
    const { pipeline } = this.#options;
    for (const [index, slot] of slots.entries()) {
      signal.throwIfAborted();
      const [image] = await traced("decode image", { "vqd.image": index }, () =>
        pipeline.decode([slot.tokens]),
      );
      if (image === undefined) throw new Error("the decoder returned no picture");
      const { width, height } = image;
      const { outputFormat: format, outputQuality: quality } = job;
      const bytes = await traced("encode file", { "vqd.format": format }, () =>
        encodeImageFile(image, format, quality),
      );
      publisher.publish({ type: "output", index, format, width, height, seed: job.seed }, bytes);
    }
  }
}
