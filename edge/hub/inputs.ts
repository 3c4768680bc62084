// What predictions start from: files in object storage, from which a job gets its attachment when it is dispatched.

import { attachToJob, detachJob, type Framed } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import type { Job } from "@vqd/shared/job.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Config } from "../config.ts";
import { OwnerRate } from "./admission/owner-rate.ts";
import { endPrediction } from "./events/ingest.ts";
import { getInputs, putInputs } from "./storage/files.ts";
import type { HeldJob } from "./storage/queue/job-store.ts";
import type { PredictionStore } from "./storage/store.ts";

export interface InputsOptions {
  readonly config: Pick<Config, "readsPerMinute">;
  readonly store: PredictionStore;
  readonly bucket: R2Bucket;
  readonly log: Logger;
}

export class Inputs {
  readonly #options: InputsOptions;
  readonly #rate: OwnerRate;
  /** Predictions whose files are being stored. */
  readonly #storing = new Map<string, Promise<void>>();

  constructor(options: InputsOptions) {
    this.#options = options;
    this.#rate = new OwnerRate(options.config.readsPerMinute, "inputs with files");
  }

  /** Counts the files of a prediction. Throws a VqdError (rate_limited). */
  admit(keyName: string, bytes: number): void {
    this.#rate.admit(keyName);
    this.#rate.count(keyName, bytes);
  }

  /** Stores the files of a new prediction, and then its job, as held. Throws a VqdError (internal), after which the prediction is gone. */
  async store(id: string, job: Framed<Job>, of: Pick<HeldJob, "requestId" | "traceparent">): Promise<void> {
    const storing = this.#store(id, job, of);
    this.#storing.set(id, storing);
    await storing.finally(() => this.#storing.delete(id));
  }

  /** Waits until the prediction's files are stored; throws what `store` throws. */
  async stored(id: string): Promise<void> {
    await this.#storing.get(id);
  }

  async #store(id: string, job: Framed<Job>, of: Pick<HeldJob, "requestId" | "traceparent">): Promise<void> {
    const { store, bucket, log } = this.#options;
    const row = store.get(id);
    if (row === undefined) return;
    try {
      await putInputs(bucket, row, job.attachment);
    } catch (error) {
      log.error("cannot store what a prediction starts from", { prediction: id, ...errorFields(error) });
      store.atomically(() => {
        if (store.isLive(id)) endPrediction(store, id, { status: "failed", at: Date.now() });
        // With it go the files that have been stored.
        store.tombstones.bury(id, Date.now());
      });
      throw new VqdError("internal", "the files could not be stored", { retryable: true });
    }
    // It may have been canceled in the meantime.
    if (store.isLive(id)) store.jobs.keep({ id, job: detachJob(job), ...of });
  }

  /** A held job with its attachment; undefined if that is gone, with which the prediction fails. Throws if object storage fails. */
  async framed({ id, job }: HeldJob): Promise<Framed<Job> | undefined> {
    const { store, bucket } = this.#options;
    const row = store.get(id);
    const attachment = row === undefined ? undefined : await getInputs(bucket, row);
    if (attachment !== undefined) return attachToJob(job, attachment);
    store.atomically(() => {
      const error = { code: "internal", message: "the files it starts from are missing" } as const;
      if (store.isLive(id)) endPrediction(store, id, { status: "failed", at: Date.now(), error });
    });
    return undefined;
  }
}
