// Headers of NATS messages: what belongs to a request and not to the job itself. All may be missing.

export const MESSAGE_HEADERS = {
  /** W3C Trace Context: the span that the receiver's spans are under. Only of requests that are traced. */
  traceparent: "traceparent",
  /** The x-request-id of the HTTP request, for logs. */
  requestId: "Vqd-Request-Id",
} as const;

export interface SpanIds {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

const SAMPLED = 1;

/** The header of a span that is recorded; undefined for others, so that messages carry nothing for nobody. */
export function traceparentOf({ traceId, spanId, traceFlags }: SpanIds): string | undefined {
  if ((traceFlags & SAMPLED) === 0) return undefined;
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}
