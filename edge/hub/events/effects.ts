// What a message of the events stream changes in its prediction: steps, images, its end.

import { SpanKind } from "@opentelemetry/api";
import type { Framed } from "@vqd/shared/codec.ts";
import type { PredictionEvent, StepEvent } from "@vqd/shared/events.ts";
import { errorFields, type LogFields, type Logger } from "@vqd/shared/log.ts";
import { decodeEvents } from "@vqd/shared/steps/batch.ts";
import type { EventPlace } from "@vqd/shared/subjects.ts";
import type { Change } from "../change-notifier.ts";
import type { Tracing } from "../../telemetry/tracing.ts";
import { contradictionOf } from "./event-check.ts";
import { endPrediction, ingest, isFenced, isFileDue } from "./ingest.ts";
import type { Lanes } from "./lanes.ts";
import type { HubMetrics } from "../metrics.ts";
import type { StreamMessage } from "../nats/follow.ts";
import type { ModelRegistry } from "../nats/manifests.ts";
import { isFinal } from "../../prediction/statuses.ts";
import { type FileEvent, fileOf, putImage } from "../storage/files.ts";
import { keyOf, type PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";

/** Attempts to store a preview; an output is retried until its prediction has ended. */
const PREVIEW_TRIES = 4;

export interface EffectsOptions {
  readonly store: PredictionStore;
  readonly models: Pick<ModelRegistry, "get">;
  readonly files: R2Bucket;
  readonly tracing: Tracing;
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** Called when a worker has said something of a live prediction, with its time by the worker's clock. */
  readonly onHeard: (row: PredictionRow, at: number) => void;
  /** Called when there is something new for readers of the prediction. */
  readonly onChanged: (id: string, change: Change) => void;
  /** Called when an attempt has started, before `onChanged`. */
  readonly onStarted: (row: PredictionRow) => void;
  /** Called when the prediction has just ended. */
  readonly onEnded: (id: string) => void;
  /** Called for an event without effect: its prediction is unknown, has ended, or has moved on. */
  readonly onOrphan: (place: EventPlace, row: PredictionRow | undefined, event: PredictionEvent) => void;
}

/**
 * Events take effect here, one message of a prediction after the other. An event that contradicts its prediction is rejected,
 * and the prediction fails. Only a failure of SQLite is thrown: then nothing has changed.
 */
export class Effects {
  readonly #options: EffectsOptions;
  readonly #lanes: Lanes;
  /** Consecutive failures to store the image of a prediction's next event. */
  readonly #tries = new Map<string, number>();

  /** Images are put within the limit of `lanes`. */
  constructor(options: EffectsOptions, lanes: Lanes) {
    this.#options = options;
    this.#lanes = lanes;
  }

  /**
   * Applies a message, and calls `settle` in the transaction of its last event. Returns false if that has to wait for object storage:
   * then what comes before the image has taken effect, and has none when the message is applied again.
   */
  async take(place: EventPlace, message: StreamMessage, settle: () => void): Promise<boolean> {
    const { store, onHeard, onOrphan } = this.#options;
    const before = store.get(place.predictionId);
    if (before !== undefined && place.modelKey !== undefined && place.modelKey !== keyOf(before)) {
      this.ignoreMisplaced();
      settle();
      return true;
    }
    const events = decode(message);
    if (before === undefined || isFinal(before.status)) {
      settle();
      if (events instanceof Error) return true;
      const last = events.at(-1);
      if (last !== undefined) onOrphan(place, before, last.value);
      return true;
    }
    if (events instanceof Error) {
      this.#reject(before, { reason: "unreadable", what: "not an event" }, settle);
      return true;
    }
    const latest = events.at(-1);
    if (latest !== undefined) onHeard(before, latest.value.at);
    const nothing = (): void => {};
    for (let at = 0; at < events.length;) {
      const steps = stepsFrom(events, at);
      const end = at + Math.max(1, steps.length);
      const finish = end === events.length ? settle : nothing;
      const [framed] = events.slice(at, end);
      if (steps.length > 0) this.#takeSteps(place, steps, finish);
      else if (framed !== undefined && !(await this.#takeEvent(place, message, framed, finish))) return false;
      at = end;
    }
    if (events.length === 0) settle();
    return true;
  }

  /** Of a message that is for no prediction of this shard, or from a worker that may not serve the prediction's model. */
  ignoreMisplaced(): void {
    this.#options.metrics.count("vqd_hub_events_refused_total", "misplaced");
  }

  /** Applies successive steps. A message may have a thousand: the prediction is read once, and what follows is done once. */
  #takeSteps(place: EventPlace, steps: readonly Framed<StepEvent>[], settle: () => void): void {
    const { store, models, metrics, onChanged, onStarted, onOrphan } = this.#options;
    const id = place.predictionId;
    const before = store.get(id);
    let row = before;
    try {
      for (const framed of steps) {
        if (row === undefined || isFenced(row, framed.value)) continue;
        const what = contradictionOf(row, models.get(keyOf(row)), framed);
        if (what !== undefined) {
          this.#reject(row, { reason: "contradictory", what: `step: ${what}` }, settle);
          return;
        }
        const seen = row;
        if (!store.atomically(() => ingest(store, seen, framed.value, framed.attachment))) continue;
        const progress = store.events.progressOf(id);
        row = progress === undefined ? store.get(id) : Object.assign({}, row, progress);
        metrics.count("vqd_hub_events_total");
      }
    } catch (error) {
      this.failUnwritable(id, error);
      settle();
      return;
    }
    settle();
    const [first] = steps;
    if (row !== before && row !== undefined && before !== undefined) {
      this.#measure(before, row);
      if (row.attempt !== before.attempt) onStarted(row);
      onChanged(id, "step");
    } else if (first !== undefined) {
      onOrphan(place, row, first.value);
    }
  }

  /** The same of one event of a message. */
  async #takeEvent(
    place: EventPlace,
    message: StreamMessage,
    framed: Framed<PredictionEvent>,
    settle: () => void,
  ): Promise<boolean> {
    const { store, models, metrics, log, onChanged, onStarted, onEnded, onOrphan } = this.#options;
    const id = place.predictionId;
    const before = store.get(id);
    const { value: event, attachment } = framed;
    if (before === undefined || isFinal(before.status)) {
      settle();
      onOrphan(place, before, event);
      return true;
    }
    const file = event.type === "output" ? fileOf(before, event, attachment) : attachment;
    if (!isFenced(before, event)) {
      const model = models.get(keyOf(before));
      const what = contradictionOf(before, model, framed);
      if (what !== undefined) {
        this.#reject(before, { reason: "contradictory", what: `${event.type}: ${what}` }, settle);
        return true;
      }
      if (isFileDue(before, event) && !(await this.#storeFile(before, event, message, file))) {
        const tries = (this.#tries.get(id) ?? 0) + 1;
        this.#tries.set(id, tries);
        if (event.type !== "preview" || tries < PREVIEW_TRIES) return false;
        // Losing a preview is no reason to fail the prediction.
        settle();
        this.#tries.delete(id);
        return true;
      }
      // Not before: what precedes an image in its message is applied anew with each try.
      if (event.type === "preview" || event.type === "output") this.#tries.delete(id);
    }
    // The row may have changed while the file was being stored.
    const row = store.get(id) ?? before;
    if (!this.#writeSteps(id)) {
      settle();
      return true;
    }
    let failure: unknown;
    const changed = store.atomically(() => {
      settle();
      try {
        return store.atomically(() => ingest(store, row, event, file));
      } catch (error) {
        // If the cause is SQLite itself, this fails too, and nothing has changed.
        failPrediction(store, id, event.type);
        failure = error;
        return true;
      }
    });
    if (failure !== undefined) this.#report(id, "unapplicable", event.type, errorFields(failure));
    else if (changed) {
      metrics.count("vqd_hub_events_total");
      this.#measure(row, store.get(id));
    }
    const after = store.get(id);
    if (changed && after !== undefined && isFinal(after.status)) {
      log.info("ended", { prediction: id, status: after.status, code: after.errorCode });
      onEnded(id);
    } else if (changed) {
      if (after !== undefined && after.attempt !== row.attempt) onStarted(after);
      onChanged(id, "other");
    } else {
      onOrphan(place, row, event);
    }
    return true;
  }

  /** Writes the prediction's steps, not within what is undone if what follows them cannot be applied. False if it fails with that. */
  #writeSteps(id: string): boolean {
    try {
      this.#options.store.events.flush(id);
      return true;
    } catch (error) {
      this.failUnwritable(id, error);
      return false;
    }
  }

  /** Fails a prediction whose steps SQLite does not take. Throws if it takes nothing; then nothing has changed. */
  failUnwritable(id: string, error: unknown): void {
    const { store, onEnded } = this.#options;
    const made = store.get(id);
    const restore = store.events.forget(id);
    try {
      store.atomically(() => {
        // They were made, and readers have seen them: so they count.
        if (made !== undefined) store.update(id, { furthest: Math.max(made.furthest, made.step) });
        failPrediction(store, id, "step");
      });
    } catch (failure) {
      restore();
      throw failure;
    }
    this.#report(id, "unapplicable", "step", errorFields(error));
    onEnded(id);
  }

  /** Fails the prediction, since its worker's reports cannot be trusted. */
  #reject(
    { id }: PredictionRow,
    { reason, what }: { reason: "unreadable" | "contradictory"; what: string },
    settle: () => void,
  ): void {
    const { store, onEnded } = this.#options;
    store.atomically(() => {
      settle();
      failPrediction(store, id, what);
    });
    this.#report(id, reason, what);
    onEnded(id);
  }

  #report(id: string, reason: string, what: string, fields: LogFields = {}): void {
    const { metrics, log } = this.#options;
    metrics.count("vqd_hub_events_refused_total", reason);
    log.error("rejected an event; its prediction has failed", { prediction: id, reason, what, ...fields });
  }

  /** Records the durations that an event completes. */
  #measure(before: PredictionRow, after: PredictionRow | undefined): void {
    const { metrics } = this.#options;
    if (after === undefined) return;
    const { createdAt, startedAt, completedAt, status } = after;
    if (before.startedAt === null && startedAt !== null) {
      metrics.observe("vqd_hub_queue_wait_seconds", (startedAt - createdAt) / 1_000);
    }
    if (status === "succeeded" && completedAt !== null) {
      metrics.observe("vqd_hub_prediction_duration_seconds", (completedAt - createdAt) / 1_000);
    }
  }

  /** Stores an event's image; returns false if that failed. */
  async #storeFile(
    row: PredictionRow,
    event: FileEvent,
    { traceparent }: StreamMessage,
    image: Uint8Array,
  ): Promise<boolean> {
    const { files, tracing, metrics, log } = this.#options;
    try {
      const attributes = { "vqd.prediction.id": row.id, "vqd.image": event.index, "vqd.bytes": image.length };
      await tracing.traced("store image", { kind: SpanKind.CONSUMER, parent: traceparent, attributes }, () =>
        this.#lanes.put(() => putImage(files, row, event, image)),
      );
      metrics.count("vqd_hub_images_stored_total");
      return true;
    } catch (error) {
      metrics.count("vqd_hub_image_failures_total");
      log.error("cannot store an image", { prediction: row.id, ...errorFields(error) });
      return false;
    }
  }
}

/** The steps in a row from there on. */
function stepsFrom(events: readonly Framed<PredictionEvent>[], from: number): Framed<StepEvent>[] {
  const steps: Framed<StepEvent>[] = [];
  for (const { value, attachment } of events.slice(from)) {
    if (value.type !== "step") break;
    steps.push({ value, attachment });
  }
  return steps;
}

/** Call within a transaction. */
function failPrediction(store: PredictionStore, id: string, what: string): void {
  const error = { code: "internal", message: `the worker sent an invalid event (${what})` } as const;
  endPrediction(store, id, { status: "failed", at: Date.now(), error, release: true });
}

function decode({ data }: StreamMessage): Framed<PredictionEvent>[] | Error {
  try {
    return decodeEvents(data);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
