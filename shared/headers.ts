// Headers of NATS messages: what belongs to a request rather than to the job itself. All are optional.

export const MESSAGE_HEADERS = {
  /** W3C Trace Context: the parent of the receiver's spans. Only for requests that are traced. */
  traceparent: "traceparent",
  /** The x-request-id of the HTTP request, for logs. */
  requestId: "Vqd-Request-Id",
  /** SCOPED if the job's hub knows the subjects that name a model; hubs of 0.1.0 do not say. */
  subjects: "Vqd-Subjects",
  /** YIELDS if the job's hub may ask for it to be handed back, and understands the event that follows. */
  control: "Vqd-Control",
  /** BEGINNING if the job's hub wants to know what the job begins with, and understands the event that says so. */
  receipts: "Vqd-Receipts",
  /** Of a route: who has decided it, for whoever asks later. */
  by: "Vqd-By",
  /** BATCHES if the job's hub reads batches of events (steps/batch.ts). */
  events: "Vqd-Events",
  /** The same for all jobs of an owner, for passes to be shared between owners; it says nothing else, and changes with the hub's life. */
  owner: "Vqd-Owner",
} as const;

export const SCOPED = "scoped";
export const YIELDS = "yield";
export const BEGINNING = "beginning";
export const BATCHES = "batch";

export interface SpanIds {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

const SAMPLED = 1;

/** The header for a span that is recorded; undefined for others, so that messages carry no useless header. */
export function traceparentOf({ traceId, spanId, traceFlags }: SpanIds): string | undefined {
  if ((traceFlags & SAMPLED) === 0) return undefined;
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}
