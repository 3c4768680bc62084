// What request handlers and the hub exchange: plain data, since class instances do not survive RPC.

import type { Quotas } from "@vqd/shared/api-key.ts";
import type { MaskChannel } from "@vqd/shared/editing/source.ts";
import type { ErrorCode } from "@vqd/shared/errors.ts";
import type { ModelRoute } from "@vqd/shared/routing/route.ts";
import type { Receipt } from "@vqd/shared/receipts/receipt.ts";
import type { Priority } from "@vqd/shared/subjects.ts";
import type { RateLimits, RateState } from "./rate-state.ts";
import type { InputField } from "./input-links.ts";
import type { PredictionStatus } from "./statuses.ts";
import type { WebhookDelivery, DeliveryAttempt, WebhookEvent } from "./webhook-events.ts";

export interface OutputFile {
  /** Index of the image within the prediction. */
  readonly index: number;
  /** Last segment of its URL, such as "0.png". */
  readonly name: string;
}

/** Queue position of a prediction that has not started. */
export interface QueuePlace {
  /** 1 is next. */
  readonly position: number;
  /** Estimated seconds until its start; null while the pace of its model is unknown. */
  readonly etaSeconds: number | null;
}

export interface PredictionRecord {
  readonly id: string;
  /** The id that the caller has given it, if any. */
  readonly ownId: string | null;
  readonly status: PredictionStatus;
  readonly model: string;
  readonly version: string;
  /** The caller's input with defaults filled in, as JSON. */
  readonly inputJson: string;
  /** Tokens of all prompts, before truncation to the model's length. */
  readonly promptTokens: number;
  readonly promptTruncated: boolean;
  readonly images: number;
  readonly totalSteps: number;
  /** Unguessable URL segments. */
  readonly fileCapability: string;
  readonly streamCapability: string;
  /** That of the link by which others may see it; null unless it is shared. */
  readonly shareCapability: string | null;
  readonly step: number;
  readonly attempt: number;
  readonly numericsId: string | null;
  /** Ordered by index. */
  readonly outputs: readonly OutputFile[];
  readonly errorCode: ErrorCode | null;
  readonly errorMessage: string | null;
  readonly logs: string;
  /** Null unless it is waiting. */
  readonly queue: QueuePlace | null;
  readonly predictSeconds: number | null;
  /** Unix times in ms. */
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly completedAt: number | null;
  /** The images have been deleted: their retention has ended. */
  readonly filesExpired: boolean;
  readonly webhook: string | null;
  readonly webhookEvents: readonly WebhookEvent[];
}

/** A file that a prediction starts from. */
export interface InputFile {
  /** The input's field that names it; null if none does. */
  readonly field: InputField | null;
  /** Last segment of its URL. */
  readonly name: string;
  readonly contentType: string;
  readonly bytes: number;
  /** How it says what is held, if it does. */
  readonly channel?: MaskChannel;
}

/** Everything the hub needs to dispatch a prediction and to report on it. */
export interface NewPrediction {
  readonly keyName: string;
  /** That of the key it was made with, among those of its owner. */
  readonly keyId: string;
  readonly inputJson: string;
  readonly promptTokens: number;
  readonly promptTruncated: boolean;
  readonly fileCapability: string;
  readonly streamCapability: string;
  /** Unguessable URL segment of what it starts from, which a link to its images does not give away. */
  readonly inputCapability: string;
  /** What it starts from, in the order in which the files follow the job. */
  readonly inputFiles: readonly InputFile[];
  readonly queueTimeoutMs: number;
  readonly runTimeoutMs: number;
  /** Time after its creation at which it is canceled; null for never. */
  readonly cancelAfterMs: number | null;
  readonly idempotency: Idempotency | null;
  /** Of a client that sends its request again by itself if it gets no answer. Not with an idempotency key. */
  readonly retry?: Retry | undefined;
  readonly webhook: Webhook | null;
  readonly limits: RateLimits;
  readonly quotas: Quotas;
  /** Origin of links in webhooks. */
  readonly origin: string;
  /** The encoded job, as the worker receives it: with the files. */
  readonly job: Uint8Array;
  readonly priority: Priority;
  /** It is refused if its estimated wait is longer. */
  readonly maxWaitMs: number;
  readonly requestId: string;
  /** Traceparent of the request's span, if it is traced. */
  readonly traceparent: string | undefined;
}

export interface CreatedPrediction {
  readonly record: PredictionRecord;
  /** Null if an earlier request created the prediction: then this one does not count towards the limit. */
  readonly rate: RateState | null;
}

export interface Webhook {
  readonly url: string;
  readonly events: readonly WebhookEvent[];
}

/** A prediction's webhook deliveries and their attempts. */
export interface WebhookLog {
  readonly webhook: string | null;
  readonly deliveries: readonly {
    readonly delivery: WebhookDelivery;
    readonly attempts: readonly DeliveryAttempt[];
  }[];
}

/** Identifies a request as a repetition of an earlier one by the same owner. */
export interface Idempotency {
  readonly key: string;
  /** SHA-256 of everything the request asks for, in hex. */
  readonly requestHash: string;
}

/** A request that its client may send again, or that is sent again. */
export interface Retry {
  /** SHA-256 of everything the request asks for, in hex. */
  readonly requestHash: string;
  /** Whether the client has sent it before. */
  readonly isRetry: boolean;
}

/** A position in a list ordered by creation: everything on one side of a prediction. */
export interface ListPlace {
  readonly towards: "older" | "newer";
  readonly createdAt: number;
  readonly id: string;
}

export interface ListQuery {
  readonly limit: number;
  /** Null to start with the newest. */
  readonly from: ListPlace | null;
  /** Unix times in ms, both exclusive; null for no bound. */
  readonly createdAfter: number | null;
  readonly createdBefore: number | null;
}

/** How many predictions a filtered page of a list looks through. */
export const LOOKED_THROUGH = 10_000;

/** Which predictions of a list are wanted; null for any. */
export interface PredictionFilter {
  readonly status: PredictionStatus | null;
  /** Name of the model, `owner/name`. */
  readonly model: string | null;
  /** A part of the id, or of the caller's own. */
  readonly id: string | null;
}

export interface PredictionQuery extends ListQuery {
  /** Left out for all predictions. */
  readonly only?: PredictionFilter | undefined;
}

export interface PredictionPage {
  /** Newest first. */
  readonly records: readonly PredictionRecord[];
  readonly previous: ListPlace | null;
  readonly next: ListPlace | null;
}

/** Asks for the next events of a prediction's stream, on behalf of its owner. */
export interface EventQuery {
  readonly id: string;
  readonly keyName: string;
  /** Sequence number of the last event seen; 0 for none. */
  readonly after: number;
  readonly types: readonly string[];
}

/** An event of a prediction's stream, as readers see it. */
export interface StoredEvent {
  /** Its sequence number in the stream, starting at 1. */
  readonly seq: number;
  readonly type: string;
  /** JSON, or a log line. */
  readonly data: string;
}

/** A prediction, and its state after one of its steps. */
export interface RecordedState {
  readonly record: PredictionRecord;
  /** The file that says what is held, if any; null if it is no longer stored. */
  readonly mask:
    | { readonly bytes: Uint8Array<ArrayBuffer>; readonly channel: MaskChannel }
    | null
    | undefined;
  /** Class ids of all images as uint16 LE; null if the step has not been made, or is not recorded any more. */
  readonly tokens: Uint8Array<ArrayBuffer> | null;
}

/** What a receipt of an image says, without the hashes of its states, and those. */
export interface UnsignedReceipt {
  readonly receipt: Omit<Receipt, "chain">;
  /** Class ids as uint16 LE: what the image began with, and after each step. */
  readonly states: readonly Uint8Array<ArrayBuffer>[];
}

export interface HubHealth {
  /** `unavailable`: connected, but the streams do not respond because too few servers of the cluster are up. */
  readonly nats: "connected" | "unavailable" | "unreachable";
  readonly live: number;
}

/** How long a step of an image has taken in recent successes: their median, and how many there were. */
export interface Pace {
  readonly secondsPerImageStep: number;
  readonly runs: number;
}

/** What waits and runs in a hub, of one version of a model. */
export interface VersionLoad {
  readonly version: string;
  /** Predictions that have not started, or wait to be continued. */
  readonly waiting: Readonly<Record<Priority, number>>;
  readonly running: number;
  /** Null if there were no successes recently. */
  readonly pace: Pace | null;
  /** When a worker last said something of a prediction, as Unix time in ms; null if not since the hub was started. */
  readonly heardAt: number | null;
}

export interface HubWorkload {
  /** Whether it has live predictions and no connection to NATS, which it opens again as soon as it can. */
  readonly isCutOff: boolean;
  readonly versions: readonly VersionLoad[];
}

/** Workers that could take a job of a version now. */
export interface RoomAtWorkers {
  readonly version: string;
  readonly workers: number;
  /** When there was last one, as Unix time in ms; null if not since the hub was started. */
  readonly seenAt: number | null;
}

export interface HubWorkers {
  readonly nats: HubHealth["nats"];
  /** Of announced versions; empty if the queues could not be looked at. */
  readonly room: readonly RoomAtWorkers[];
}

/** What an operator has decided about a model name, and when. */
export type KnownRoute = ModelRoute & {
  /** Unix time in ms, by the broker's clock. */
  readonly writtenAt: number;
};
