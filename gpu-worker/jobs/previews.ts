// A job's previews: images of the most likely result, decoded while the steps continue.

import { imageCount, type Job, previewSteps } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import type { FileEncoder } from "./file-encoder.ts";
import type { JobReporter } from "./reporter.ts";

export interface PreviewsOptions {
  readonly job: Job;
  readonly pipeline: Pick<VQDiffusionPipeline, "decode" | "info">;
  /** Undefined for a job without previews. */
  readonly encode: FileEncoder | undefined;
  readonly publisher: Pick<JobReporter, "publish">;
  /** When it aborts, previews not yet decoded are dropped. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Costs nothing unless the job asks for previews, and then one argmax and one decoder pass each. Give each image's slot
 * `mostLikely(image)`, call `afterStep` after each step of the job, and await `settled` before the final images.
 */
export class Previews {
  readonly #options: PreviewsOptions;
  /** The numbers of completed steps after which previews are taken. */
  readonly #steps: readonly number[];
  readonly #codes: readonly Uint16Array[];
  #tail: Promise<void> = Promise.resolve();

  constructor(options: PreviewsOptions) {
    const { job, pipeline } = options;
    this.#options = options;
    this.#steps = previewSteps(job.numInferenceSteps, job.previews);
    const { latentHeight, latentWidth } = pipeline.info;
    const count = this.#steps.length === 0 ? 0 : imageCount(job);
    this.#codes = Array.from({ length: count }, () => new Uint16Array(latentHeight * latentWidth));
  }

  /** For the image's slot: where the previewed steps write their most likely tokens. */
  mostLikely(image: number): ((stepIndex: number) => Uint16Array | undefined) | undefined {
    const codes = this.#codes[image];
    if (codes === undefined) return undefined;
    return (stepIndex) => (this.#steps.includes(stepIndex + 1) ? codes : undefined);
  }

  /** Call when `step` steps are done, before the next begins. Returns immediately. */
  afterStep(step: number): void {
    const preview = this.#steps.indexOf(step);
    if (preview < 0) return;
    for (const [index, codes] of this.#codes.entries()) {
      // A copy: a later step may overwrite it before it is decoded.
      const seen = codes.slice();
      this.#tail = this.#tail.then(() => this.#publish(index, preview, step, seen));
    }
  }

  /** Resolves when all previews so far are published or dropped. */
  settled(): Promise<void> {
    return this.#tail;
  }

  /** Never rejects: a failed preview must not cost the image. */
  async #publish(index: number, preview: number, step: number, codes: Uint16Array): Promise<void> {
    const { job, pipeline, encode, publisher, signal, log } = this.#options;
    if (signal.aborted || encode === undefined) return;
    try {
      const [image] = await pipeline.decode([codes]);
      if (image === undefined) throw new Error("the decoder returned no image");
      const { bytes, ...file } = await encode(image);
      if (signal.aborted) return;
      publisher.publish({ type: "preview", index, preview, step, ...file }, bytes);
    } catch (error) {
      log.warn("preview failed", { prediction: job.id, step, ...errorFields(error) });
    }
  }
}
