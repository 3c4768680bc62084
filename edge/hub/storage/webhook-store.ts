// Webhooks in SQLite: deliveries, their attempts, and the owners' secrets. Rows in, rows out.

import { newWebhookId, newWebhookSecret } from "../webhooks/sign.ts";
import type { AttemptOutcome } from "../webhooks/schedule.ts";
import type {
  WebhookDelivery,
  DeliveryAttempt,
  DeliveryState,
  WebhookEvent,
} from "../../prediction/webhook-events.ts";
import { byteLength } from "../../util/bytes.ts";
import { number, numberOrNull, type Row, text, textOrNull } from "./columns.ts";

/** Hosts and predictions whose deliveries cannot be sent now. */
export interface Exclusion {
  readonly hosts: readonly string[];
  readonly predictionIds: readonly string[];
}

/** Shortest interval between deliveries of the same event; faster ones are merged. */
const THROTTLE_MS = 500;
const THROTTLED: ReadonlySet<WebhookEvent> = new Set(["output", "logs"]);
/** Latest attempts of a delivery that are kept: redeliveries can add any number. */
const MAX_ATTEMPTS_KEPT = 50;
/** How long the previous secret keeps signing after a rotation. */
const OLD_SECRET_MS = 24 * 60 * 60 * 1_000;

const toDelivery = (row: Row): WebhookDelivery => ({
  id: text(row["id"]),
  predictionId: text(row["prediction_id"]),
  event: text(row["event"]) as WebhookEvent,
  owner: text(row["owner"]),
  host: text(row["host"]),
  body: textOrNull(row["body"]),
  state: text(row["state"]) as DeliveryState,
  tries: number(row["tries"]),
  nextAt: numberOrNull(row["next_at"]),
});

interface Secret {
  readonly secret: string;
  /** When it stops signing, as Unix time in ms; null for the current secret. */
  readonly until: number | null;
}

export class WebhookStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  /** Queues a delivery, if the prediction has a webhook for the event. Call in the same transaction as what causes the event. */
  queue(predictionId: string, event: WebhookEvent, now: number): void {
    const [row] = this.#sql
      .exec<{ owner: string; url: string; events: string }>(
        `SELECT key_name AS owner, webhook AS url, webhook_events AS events FROM predictions
         WHERE id = ? AND webhook IS NOT NULL AND webhook_disabled = 0`,
        predictionId,
      )
      .toArray();
    if (row === undefined || !(JSON.parse(row.events) as WebhookEvent[]).includes(event)) return;
    if (event === "completed") this.#overtake(predictionId);
    const isThrottled = THROTTLED.has(event);
    // A delivery that has not been sent yet will cover this event too.
    if (isThrottled && this.#hasUnsent(predictionId, event)) return;
    const last = isThrottled ? this.#lastSentAt(predictionId, event) : null;
    this.#sql.exec(
      "INSERT INTO deliveries (id, prediction_id, event, owner, host, created_at, next_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
      newWebhookId(),
      predictionId,
      event,
      row.owner,
      URL.parse(row.url)?.hostname ?? "",
      now,
      Math.max(now, (last ?? 0) + THROTTLE_MS),
    );
  }

  /** Owners with deliveries that have yet to be made, whether due or not. */
  owners(): string[] {
    // Looks each owner up in the index, no matter how many deliveries it has.
    return this.#sql
      .exec<{ owner: string }>(
        `WITH RECURSIVE one (owner) AS (
           SELECT min(owner) FROM deliveries WHERE next_at IS NOT NULL
           UNION ALL
           SELECT (SELECT min(owner) FROM deliveries WHERE next_at IS NOT NULL AND owner > one.owner) FROM one
           WHERE one.owner IS NOT NULL
         ) SELECT owner FROM one WHERE owner IS NOT NULL`,
      )
      .toArray()
      .map(({ owner }) => owner);
  }

  /** The owner's oldest pending delivery that is due and not excluded. */
  due(owner: string, now: number, { hosts, predictionIds }: Exclusion): WebhookDelivery | undefined {
    const [row] = this.#sql
      .exec(
        `SELECT * FROM deliveries
         WHERE owner = ? AND next_at <= ? AND host NOT IN (SELECT value FROM json_each(?))
           AND prediction_id NOT IN (SELECT value FROM json_each(?))
         ORDER BY next_at, created_at LIMIT 1`,
        owner,
        now,
        JSON.stringify(hosts),
        JSON.stringify(predictionIds),
      )
      .toArray();
    return row === undefined ? undefined : toDelivery(row);
  }

  nextAt(): number | null {
    // The condition is the index's own: without it, every delivery that is stored would be read.
    const query = "SELECT min(next_at) AS at FROM deliveries WHERE next_at IS NOT NULL";
    return this.#sql.exec<{ at: number | null }>(query).one().at;
  }

  get(id: string): WebhookDelivery | undefined {
    const [row] = this.#sql.exec("SELECT * FROM deliveries WHERE id = ?", id).toArray();
    return row === undefined ? undefined : toDelivery(row);
  }

  /** All deliveries of a prediction, in order of their events. */
  of(predictionId: string): WebhookDelivery[] {
    return this.#sql
      .exec("SELECT * FROM deliveries WHERE prediction_id = ? ORDER BY created_at, rowid", predictionId)
      .toArray()
      .map(toDelivery);
  }

  /** All deliveries of a prediction, with their attempts. */
  log(predictionId: string): { delivery: WebhookDelivery; attempts: DeliveryAttempt[] }[] {
    return this.of(predictionId).map((delivery) => ({ delivery, attempts: this.attempts(delivery.id) }));
  }

  attempts(deliveryId: string): DeliveryAttempt[] {
    return this.#sql
      .exec(
        "SELECT at, status, error, ms FROM delivery_attempts WHERE delivery_id = ? ORDER BY n",
        deliveryId,
      )
      .toArray()
      .map((row) => ({
        at: number(row["at"]),
        status: numberOrNull(row["status"]),
        error: textOrNull(row["error"]),
        ms: number(row["ms"]),
      }));
  }

  /** Marks the start of an attempt. The delivery is not due before `leaseUntil`, so it is neither sent twice at a time nor lost. */
  claim(id: string, body: string, { now, leaseUntil }: { now: number; leaseUntil: number }): void {
    this.#sql.exec(
      `UPDATE predictions SET record_bytes = record_bytes + ? WHERE id =
         (SELECT prediction_id FROM deliveries WHERE id = ? AND body IS NULL)`,
      byteLength(body),
      id,
    );
    this.#sql.exec(
      "UPDATE deliveries SET body = ?, sent_at = ?, next_at = ? WHERE id = ?",
      body,
      now,
      leaseUntil,
      id,
    );
  }

  recordAttempt(id: string, at: number, ms: number, { status, error }: AttemptOutcome): void {
    this.#sql.exec(
      `INSERT INTO delivery_attempts (delivery_id, n, at, status, error, ms)
       SELECT ?5, (SELECT coalesce(max(n), 0) FROM delivery_attempts WHERE delivery_id = ?5) + 1, ?1, ?2, ?3, ?4`,
      at,
      status,
      error,
      ms,
      id,
    );
    this.#sql.exec(
      `DELETE FROM delivery_attempts WHERE delivery_id = ?1
         AND n <= (SELECT max(n) FROM delivery_attempts WHERE delivery_id = ?1) - ?2`,
      id,
      MAX_ATTEMPTS_KEPT,
    );
  }

  settle(id: string, state: Exclude<DeliveryState, "pending">): void {
    this.#sql.exec("UPDATE deliveries SET state = ?, next_at = NULL WHERE id = ?", state, id);
  }

  /** Schedules the next attempt; `tries` attempts of its schedule have been made. */
  retryAt(id: string, at: number, tries: number): void {
    this.#sql.exec(
      "UPDATE deliveries SET state = 'pending', tries = ?, next_at = ? WHERE id = ?",
      tries,
      at,
      id,
    );
  }

  /** Restarts a delivery's schedule, even while an attempt is in progress. */
  again(id: string, now: number): void {
    this.#sql.exec("UPDATE deliveries SET state = 'pending', tries = 0, next_at = ? WHERE id = ?", now, id);
  }

  /** The receiver wants no more webhooks of this prediction: pending deliveries are dropped. */
  disable(predictionId: string): void {
    this.#sql.exec("UPDATE predictions SET webhook_disabled = 1 WHERE id = ?", predictionId);
    this.#sql.exec(
      "UPDATE deliveries SET state = 'disabled', next_at = NULL WHERE prediction_id = ? AND next_at IS NOT NULL",
      predictionId,
    );
  }

  enable(predictionId: string): void {
    this.#sql.exec("UPDATE predictions SET webhook_disabled = 0 WHERE id = ?", predictionId);
  }

  /** An owner's current secrets, newest first; created on first use. */
  secrets(keyName: string, now: number): string[] {
    const known = this.#secrets(keyName).filter(({ until }) => until === null || until > now);
    if (known.length === 0) {
      known.push({ secret: newWebhookSecret(), until: null });
      this.#keepSecrets(keyName, known);
    }
    return known.map(({ secret }) => secret);
  }

  /** Creates a new secret. The old one also signs for another day, until `oldUntil`. */
  rotate(keyName: string, now: number): { secret: string; oldUntil: number } {
    const [old = ""] = this.secrets(keyName, now);
    const secret = newWebhookSecret();
    const oldUntil = now + OLD_SECRET_MS;
    this.#keepSecrets(keyName, [
      { secret, until: null },
      { secret: old, until: oldUntil },
    ]);
    return { secret, oldUntil };
  }

  pendingCount(): number {
    return this.#sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM deliveries WHERE next_at IS NOT NULL")
      .one().n;
  }

  #secrets(keyName: string): Secret[] {
    const [row] = this.#sql
      .exec<{ secrets: string }>("SELECT secrets FROM webhook_secrets WHERE key_name = ?", keyName)
      .toArray();
    return row === undefined ? [] : (JSON.parse(row.secrets) as Secret[]);
  }

  #keepSecrets(keyName: string, secrets: readonly Secret[]): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO webhook_secrets (key_name, secrets) VALUES (?, ?)",
      keyName,
      JSON.stringify(secrets),
    );
  }

  /**
   * Makes sure that `completed` comes last. Earlier events not sent yet are dropped, since they would only repeat it. Those
   * being sent, or that were when the hub died, are not retried; the outcome of an attempt in progress still overrides this.
   */
  #overtake(predictionId: string): void {
    this.#sql.exec("DELETE FROM deliveries WHERE prediction_id = ? AND body IS NULL", predictionId);
    this.#sql.exec(
      "UPDATE deliveries SET state = 'failed', next_at = NULL WHERE prediction_id = ? AND next_at IS NOT NULL",
      predictionId,
    );
  }

  #hasUnsent(predictionId: string, event: WebhookEvent): boolean {
    const query = "SELECT 1 FROM deliveries WHERE prediction_id = ? AND event = ? AND body IS NULL";
    return this.#sql.exec(query, predictionId, event).toArray().length > 0;
  }

  #lastSentAt(predictionId: string, event: WebhookEvent): number | null {
    return this.#sql
      .exec<{ at: number | null }>(
        "SELECT max(sent_at) AS at FROM deliveries WHERE prediction_id = ? AND event = ?",
        predictionId,
        event,
      )
      .one().at;
  }
}
