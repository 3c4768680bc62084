// What passes between the edge's request handlers and the hub: plain data, since classes do not survive RPC.

import type { ErrorCode } from "@vqd/shared/errors.ts";
import type { Priority } from "@vqd/shared/subjects.ts";
import type { RateLimits, RateState } from "./rate-state.ts";
import type { PredictionStatus } from "./statuses.ts";
import type { Delivery, DeliveryAttempt, WebhookEvent } from "./webhook-events.ts";

export interface OutputFile {
  /** Place of the image in the prediction. */
  readonly index: number;
  /** Last segment of its URL, "0.png". */
  readonly name: string;
}

/** Where a prediction that has not started stands. */
export interface QueuePlace {
  /** 1 for the next one. */
  readonly position: number;
  /** Estimated time to its start in seconds; null while nothing is known of its model's pace. */
  readonly etaSeconds: number | null;
}

export interface PredictionRecord {
  readonly id: string;
  readonly status: PredictionStatus;
  readonly model: string;
  readonly version: string;
  /** The caller's input with its defaults filled in, as JSON. */
  readonly inputJson: string;
  /** Tokens of all prompts, before the cut to the model's length. */
  readonly promptTokens: number;
  readonly promptTruncated: boolean;
  readonly images: number;
  readonly totalSteps: number;
  /** Segments of unguessable URLs. */
  readonly fileCapability: string;
  readonly streamCapability: string;
  readonly step: number;
  readonly attempt: number;
  readonly numericsId: string | null;
  /** In order of index. */
  readonly outputs: readonly OutputFile[];
  readonly errorCode: ErrorCode | null;
  readonly errorMessage: string | null;
  readonly logs: string;
  /** Null unless it waits. */
  readonly queue: QueuePlace | null;
  readonly predictSeconds: number | null;
  /** Unix times in ms. */
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly completedAt: number | null;
  /** The images are gone: their retention has ended. */
  readonly filesExpired: boolean;
  readonly webhook: string | null;
  readonly webhookEvents: readonly WebhookEvent[];
}

/** All that the hub needs to dispatch a prediction and to answer for it. */
export interface NewPrediction {
  readonly keyName: string;
  readonly inputJson: string;
  readonly promptTokens: number;
  readonly promptTruncated: boolean;
  readonly fileCapability: string;
  readonly streamCapability: string;
  readonly queueTimeoutMs: number;
  readonly runTimeoutMs: number;
  /** Time from its creation after which it is canceled; null for never. */
  readonly cancelAfterMs: number | null;
  readonly idempotency: Idempotency | null;
  readonly webhook: Webhook | null;
  readonly limits: RateLimits;
  /** Of links in webhooks. */
  readonly origin: string;
  /** The job as it goes to the worker, encoded. */
  readonly job: Uint8Array;
  readonly priority: Priority;
  /** Refused if it would wait longer before its start, as far as that can be told. */
  readonly maxWaitMs: number;
  readonly requestId: string;
  /** Of the request's span, if it is traced. */
  readonly traceparent: string | undefined;
}

export interface CreatedPrediction {
  readonly record: PredictionRecord;
  /** Null for what an earlier request has made: that does not count. */
  readonly rate: RateState | null;
}

export interface Webhook {
  readonly url: string;
  readonly events: readonly WebhookEvent[];
}

/** A prediction's webhooks and what came of them. */
export interface WebhookLog {
  readonly webhook: string | null;
  readonly deliveries: readonly {
    readonly delivery: Delivery;
    readonly attempts: readonly DeliveryAttempt[];
  }[];
}

/** What makes a request the same as an earlier one of its key's owner. */
export interface Idempotency {
  readonly key: string;
  /** Of all that the request asks for, hex. */
  readonly requestHash: string;
}

/** A place in a list that is ordered by creation: what lies to one side of a prediction. */
export interface ListPlace {
  readonly towards: "older" | "newer";
  readonly createdAt: number;
  readonly id: string;
}

export interface ListQuery {
  readonly limit: number;
  /** Null for the newest. */
  readonly from: ListPlace | null;
  /** Unix times in ms, both exclusive; null for any. */
  readonly createdAfter: number | null;
  readonly createdBefore: number | null;
}

export interface PredictionPage {
  /** Newest first. */
  readonly records: readonly PredictionRecord[];
  readonly previous: ListPlace | null;
  readonly next: ListPlace | null;
}

/** Asks for what a prediction's owner sees next in its event stream. */
export interface EventQuery {
  readonly id: string;
  readonly keyName: string;
  /** Sequence of the last event seen; 0 for none. */
  readonly after: number;
  readonly types: readonly string[];
}

/** What readers of a prediction's event stream see. */
export interface StoredEvent {
  /** Its place in the stream, counted from 1. */
  readonly seq: number;
  readonly type: string;
  /** JSON, or a log line. */
  readonly data: string;
}

export interface HubHealth {
  /** `unavailable`: connected, but the streams do not answer, since too few servers of the cluster are there. */
  readonly nats: "connected" | "unavailable" | "unreachable";
  readonly live: number;
}
