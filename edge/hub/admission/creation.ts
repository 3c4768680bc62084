// Creates predictions: admits, stores and dispatches them, or finds an earlier one by its idempotency key.

import { decodeJob } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { imageCount } from "@vqd/shared/job.ts";
import type { OwnerRate } from "./owner-rate.ts";
import type { Config } from "../../config.ts";
import type { HubConnection } from "../nats/connection.ts";
import type { Dispatcher } from "../nats/dispatcher.ts";
import { mustGet } from "./lookup.ts";
import { inputBytes, newRow, type PredictionRow, rankOf, recordBytes } from "../storage/prediction-row.ts";
import type { Inputs } from "../inputs.ts";
import { admitToQueue, admitWork } from "./queue-place.ts";
import { admitToQuotas } from "./quotas.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { admitToDatabase, admitToStorage } from "./storage-limits.ts";
import type { RateState } from "../../prediction/rate-state.ts";
import type { NewPrediction } from "../../prediction/records.ts";
import { ownIdOf } from "../../prediction/own-id.ts";
import type { PredictionStore } from "../storage/store.ts";

export interface CreationOptions {
  readonly config: Config;
  readonly store: PredictionStore;
  readonly connection: Pick<HubConnection, "open">;
  readonly dispatcher: Dispatcher;
  readonly inputs: Inputs;
  readonly reads: OwnerRate;
  /** Size of the hub's database. */
  readonly databaseBytes: () => number;
  /** Called once a prediction is stored, before it is dispatched. */
  readonly onStored: () => void;
}

export class PredictionCreation {
  readonly #options: CreationOptions;
  readonly #rates = new RateLimiter();

  constructor(options: CreationOptions) {
    this.#options = options;
  }

  /**
   * Stores and dispatches a prediction, or finds the one that the same idempotent request, or the one that this repeats, created
   * before, with a `rate` of null. `parent` is the traceparent of the enclosing span. Throws a VqdError: see Hub.create.
   */
  async create(
    request: NewPrediction,
    parent: string | undefined,
  ): Promise<{ row: PredictionRow; rate: RateState | null }> {
    const { config, store, connection, dispatcher, inputs, onStored } = this.#options;
    const known = this.#madeBefore(request) ?? this.#abandoned(request);
    if (known !== undefined) return this.#found(known);
    // Without a connection nothing is stored, and the caller learns of it right away.
    await connection.open();
    const twin = this.#madeBefore(request);
    if (twin !== undefined) return this.#found(twin);
    const { keyName, limits, priority, maxWaitMs, requestId } = request;
    const framed = decodeJob(request.job);
    const { value: job } = framed;
    const imageSteps = imageCount(job) * job.numInferenceSteps;
    const { queue } = store;
    const of = { version: job.version, rank: rankOf(priority) };
    const wanted = { version: job.version, images: imageCount(job), imageSteps };
    admitToQuotas(store, keyName, request.quotas, wanted, Date.now());
    const turn = queue.turnOf(keyName, of, imageSteps);
    admitToQueue(store, { ...of, turn, id: job.id }, imageSteps, maxWaitMs);
    const fileBytes = inputBytes(request);
    admitToDatabase(this.#options.databaseBytes());
    admitToStorage(store, keyName, { records: recordBytes(request), files: fileBytes }, config);
    const live = queue.liveOf(keyName);
    admitWork(live, imageSteps, config.workLimit);
    const hasInputs = fileBytes > 0;
    if (hasInputs) inputs.admit(keyName, fileBytes);
    const rate = this.#rates.admit(keyName, live.count, limits, Date.now(), request.inputJson.length);
    // One with files waits here until they are stored.
    const isHeld = hasInputs || queue.isHolding(of) || !dispatcher.mayDispatch(of);
    store.atomically(() => {
      store.insert(newRow(job, request, { turn, isHeld }));
      if (!hasInputs) store.jobs.keep({ id: job.id, job: request.job, requestId, traceparent: parent });
      if (request.promptTruncated) {
        store.appendLog(job.id, "The prompt exceeds the model's length and was truncated.\n");
      }
    });
    onStored();
    if (hasInputs) await inputs.store(job.id, framed, { requestId, traceparent: parent });
    if (isHeld) dispatcher.dispatchHeld();
    else await dispatcher.dispatch(framed, { requestId, priority, keyName }, parent);
    return { row: mustGet(store, job.id), rate };
  }

  /** The prediction of an earlier request with the same idempotency key. Throws a VqdError if that request was different. */
  #madeBefore({ keyName, idempotency }: NewPrediction): PredictionRow | undefined {
    if (idempotency === null) return undefined;
    const known = this.#options.store.byIdempotencyKey(keyName, idempotency.key);
    if (known === undefined || known.requestHash === idempotency.requestHash) return known;
    const path = ownIdOf(idempotency.key) === null ? "Idempotency-Key" : "id";
    const message = "was already used for a different request";
    throw new VqdError("idempotency_key_reused", `${path} ${message}`, { errors: [{ path, message }] });
  }

  /** The prediction from which the client disconnected, if it now sends its request again. */
  #abandoned({ keyName, retry }: NewPrediction): PredictionRow | undefined {
    if (retry?.isRetry !== true) return undefined;
    const { store } = this.#options;
    const id = store.abandoned.adopt(keyName, retry.requestHash);
    return id === undefined ? undefined : store.get(id);
  }

  /** Waits for the request that created it, and throws what that one throws. Counts as a read. */
  async #found({ id, keyName, inputJson }: PredictionRow): Promise<{ row: PredictionRow; rate: null }> {
    const { store, dispatcher, inputs, reads } = this.#options;
    reads.admit(keyName);
    reads.count(keyName, inputJson.length);
    await inputs.stored(id);
    await dispatcher.dispatched(id);
    return { row: mustGet(store, id), rate: null };
  }
}
