// Sends the hub's webhooks: signed, a few at a time, in turn by owner, and retried on schedule.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Config } from "../../config.ts";
import { inputView } from "../../prediction/input-links.ts";
import { viewPrediction } from "../../prediction/view.ts";
import { type AttemptOutcome, nextStep, parseRetryAfter } from "./schedule.ts";
import { SendingSlots } from "./sending-slots.ts";
import { webhookSignature } from "./sign.ts";
import { MAX_LIMIT_MS, ReceiverTimeLimits } from "./time-limits.ts";
import { urlComplaint } from "../../util/public-url.ts";
import type { HubMetrics } from "../metrics.ts";
import { queuePlace } from "../admission/queue-place.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";
import type { PredictionStore } from "../storage/store.ts";
import type { WebhookDelivery } from "../../prediction/webhook-events.ts";
import type { WebhookStore } from "../storage/webhook-store.ts";

/** An attempt whose outcome was not recorded, because the hub was evicted, is repeated after this time. */
const LEASE_MS = 2 * MAX_LIMIT_MS;
const USER_AGENT = "vqd-webhooks/1";

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
      const outcome = await this.#attempt(delivery, row, url, withInput(stored, row));
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

  async #attempt(
    { id, owner, host }: WebhookDelivery,
    row: PredictionRow,
    url: string,
    body: string,
  ): Promise<AttemptOutcome> {
    const { store, config } = this.#options;
    const refused = (error: string): AttemptOutcome => ({ status: null, error, retryAfterMs: null });
    const complaint = urlComplaint(url, config.webhookUrls);
    if (complaint !== undefined) return refused(`the URL ${complaint}`);
    const now = Date.now();
    const timestamp = Math.floor(now / 1_000);
    const secrets = store.secrets(row.keyName, now);
    const limitMs = this.#timeLimits.limitMs(owner, host, now);
    try {
      const response = await fetch(url, {
        method: "POST",
        // A redirect could point anywhere.
        redirect: "manual",
        signal: AbortSignal.timeout(limitMs),
        headers: {
          "content-type": "application/json",
          "user-agent": USER_AGENT,
          "webhook-id": id,
          "webhook-timestamp": String(timestamp),
          "webhook-signature": await webhookSignature(secrets, { id, timestamp, body }),
        },
        body,
      });
      // Only the status of the response matters.
      await response.body?.cancel();
      this.#timeLimits.note(owner, host, false, Date.now());
      const { status, headers } = response;
      const isRedirect = status >= 300 && status < 400;
      return {
        status,
        error: isRedirect ? "redirects are not followed" : null,
        retryAfterMs: parseRetryAfter(headers.get("retry-after"), now),
      };
    } catch (error) {
      const isTimeout = error instanceof Error && error.name === "TimeoutError";
      this.#timeLimits.note(owner, host, isTimeout, Date.now());
      return refused(isTimeout ? `no response within ${limitMs / 1_000} s` : "no connection");
    }
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
