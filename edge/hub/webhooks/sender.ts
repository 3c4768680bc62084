// Sends the hub's webhooks: signed, a few at a time, in turn by owner, and retried on schedule.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Config } from "../../config.ts";
import { inputView } from "../../prediction/input-links.ts";
import { viewPrediction } from "../../prediction/view.ts";
import { attempt } from "./attempt.ts";
import { type AttemptOutcome, nextStep } from "./schedule.ts";
import { SendingSlots } from "./sending-slots.ts";
import { newWebhookId } from "./sign.ts";
import { MAX_LIMIT_MS, ReceiverTimeLimits } from "./time-limits.ts";
import type { HubMetrics } from "../metrics.ts";
import { queuePlace } from "../admission/queue-place.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";
import type { TestOutcome, WebhookDelivery } from "../../prediction/webhook-events.ts";
import type { WebhookStore } from "../storage/webhook-store.ts";

/** An attempt whose outcome was not recorded, because the hub was evicted, is repeated after this time. */
const LEASE_MS = 2 * MAX_LIMIT_MS;
const BUSY_RETRY_SECONDS = 2;

export interface WebhookSenderOptions {
  readonly predictions: PredictionStore;
  readonly store: WebhookStore;
  readonly config: Config;
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** Keeps work running after the call that started it. */
  readonly inBackground: (work: Promise<void>) => void;
  /** Called when the time of the next delivery may have changed. */
  readonly onScheduled: () => void;
}

export class WebhookSender {
  readonly #options: WebhookSenderOptions;
  readonly #slots = new SendingSlots();
  readonly #timeLimits = new ReceiverTimeLimits();

  constructor(options: WebhookSenderOptions) {
    this.#options = options;
  }

  /** Starts sending deliveries that are due, within the limits. Returns immediately. */
  pump(): void {
    const { store, predictions, inBackground } = this.#options;
    for (;;) {
      const delivery = this.#next(Date.now());
      if (delivery === undefined) return;
      const row = predictions.get(delivery.predictionId);
      if (row === undefined || row.webhook === null) {
        store.settle(delivery.id, "failed");
        continue;
      }
      this.#slots.take(delivery);
      inBackground(this.#send(delivery, row, row.webhook));
    }
  }

  /** Sends the prediction's `completed` webhook again, with the same webhook-id. Throws a VqdError (not_found) if there is none. */
  sendAgain(predictionId: string): void {
    const { predictions, store, onScheduled } = this.#options;
    const ending = store.of(predictionId).find(({ event }) => event === "completed");
    if (ending === undefined)
      throw new VqdError("not_found", "the prediction has no completed webhook to send again");
    predictions.atomically(() => {
      store.enable(predictionId);
      store.again(ending.id, Date.now());
    });
    this.pump();
    onScheduled();
  }

  /**
   * Sends a body once and now, outside of any schedule, if the owner may send one to that host now: within the same limits as
   * webhooks. Throws a VqdError (rate_limited).
   */
  async sendTest(owner: string, url: string, body: string): Promise<TestOutcome> {
    const [id, host] = [newWebhookId(), hostOf(url)];
    if (this.#slots.admitted([owner]).length === 0 || this.#slots.fullHosts(owner).includes(host)) {
      throw new VqdError("rate_limited", "as many webhooks as may be are being sent; try again in a moment", {
        retryable: true,
        retryAfterSeconds: BUSY_RETRY_SECONDS,
      });
    }
    this.#slots.take({ id, owner, host, predictionId: id });
    const startedAt = Date.now();
    try {
      const { status, error } = await this.#attempt(id, owner, url, body);
      return { id, status, error, ms: Date.now() - startedAt };
    } finally {
      this.#slots.free(id);
      this.pump();
    }
  }

  /** The next delivery that is due and may be sent, of the owner that is sending the fewest. */
  #next(now: number): WebhookDelivery | undefined {
    const { store } = this.#options;
    const soonest = store.nextAt();
    if (soonest === null || soonest > now) return undefined;
    // One at a time per prediction, so that its events arrive in order.
    const predictionIds = this.#slots.predictionIds();
    for (const owner of this.#slots.admitted(store.owners())) {
      const due = store.due(owner, now, { hosts: this.#slots.fullHosts(owner), predictionIds });
      if (due !== undefined) return due;
    }
    return undefined;
  }

  async #send(delivery: WebhookDelivery, row: PredictionRow, url: string): Promise<void> {
    const { store, config, metrics, log, onScheduled } = this.#options;
    const startedAt = Date.now();
    const leaseUntil = startedAt + LEASE_MS;
    try {
      const stored = delivery.body ?? this.#bodyOf(row);
      store.claim(delivery.id, stored, { now: startedAt, leaseUntil });
      const outcome = await this.#attempt(delivery.id, row.keyName, url, withInput(stored, row));
      const now = Date.now();
      store.recordAttempt(delivery.id, startedAt, now - startedAt, outcome);
      const tries = delivery.tries + 1;
      const step = nextStep(outcome, {
        tries,
        // Other events are soon superseded by later ones, so they are tried only once.
        delaysMs: delivery.event === "completed" ? config.webhookDelaysMs : [],
        now,
        random: Math.random(),
      });
      const nextAt = store.get(delivery.id)?.nextAt ?? null;
      // If a redelivery was requested in the meantime, it is sent again whatever the outcome of this attempt.
      const isRestarted = nextAt !== null && nextAt !== leaseUntil;
      if (!isRestarted) {
        if ("retryAt" in step) store.retryAt(delivery.id, step.retryAt, tries);
        else if (step.state === "disabled") store.disable(row.id);
        else store.settle(delivery.id, step.state);
        if ("state" in step && step.state === "disabled") store.settle(delivery.id, "disabled");
      }
      const result = "state" in step ? step.state : "retrying later";
      metrics.count("vqd_hub_webhook_attempts_total", "state" in step ? step.state : "retried");
      log.info("webhook sent", { prediction: row.id, event: delivery.event, status: outcome.status, result });
    } catch (error) {
      log.error("cannot send a webhook", { prediction: row.id, ...errorFields(error) });
    } finally {
      this.#slots.free(delivery.id);
      this.pump();
      onScheduled();
    }
  }

  /** Sends to the owner's receiver, within the time that it has. */
  async #attempt(id: string, owner: string, url: string, body: string): Promise<AttemptOutcome> {
    const { store, config } = this.#options;
    const host = hostOf(url);
    const now = Date.now();
    const outcome = await attempt({
      url,
      id,
      body,
      secrets: store.secrets(owner, now),
      limitMs: this.#timeLimits.limitMs(owner, host, now),
      rules: config.webhookUrls,
    });
    const { didHang } = outcome;
    if (didHang !== undefined) this.#timeLimits.note(owner, host, didHang, Date.now());
    return outcome;
  }

  /** The prediction in its current state, with the same links that its creator got, and without the input: see withInput. */
  #bodyOf(row: PredictionRow): string {
    const { predictions, config } = this.#options;
    const record = { ...row, logs: predictions.logsOf(row), queue: queuePlace(predictions, row) };
    return JSON.stringify({
      ...viewPrediction(record, { origin: row.origin, retention: config }),
      input: null,
    });
  }
}

/** A stored body with the prediction's input, which is stored only once: with its record. */
function withInput(body: string, { inputJson, origin }: PredictionRow): string {
  return JSON.stringify({ ...(JSON.parse(body) as object), input: inputView(inputJson, origin) });
}

const hostOf = (url: string): string => URL.parse(url)?.hostname ?? "";
