// The events that webhooks report, and their deliveries.

export const WEBHOOK_EVENTS = ["start", "output", "logs", "completed"] as const;
export type WebhookEvent = (typeof WEBHOOK_EVENTS)[number];
export type DeliveryState = "pending" | "delivered" | "failed" | "disabled";

export interface WebhookDelivery {
  /** The webhook-id. */
  readonly id: string;
  readonly predictionId: string;
  readonly event: WebhookEvent;
  /** Owner of the prediction. */
  readonly owner: string;
  /** Host name of the receiver, without a port. */
  readonly host: string;
  /** Null until the first attempt; the same for all attempts after that. */
  readonly body: string | null;
  readonly state: DeliveryState;
  readonly tries: number;
  /** Unix time of the next attempt in ms; null once it is settled. */
  readonly nextAt: number | null;
}

export interface DeliveryAttempt {
  readonly at: number;
  readonly status: number | null;
  readonly error: string | null;
  readonly ms: number;
}

/** What came of an event that was sent to try a receiver; `status` is null if there was no response. */
export interface TestOutcome {
  /** The webhook-id. */
  readonly id: string;
  readonly status: number | null;
  readonly error: string | null;
  readonly ms: number;
}
